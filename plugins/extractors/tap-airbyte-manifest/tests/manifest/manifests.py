"""Manifests of many kinds for the API beside this file."""

from typing import Any

Manifest = dict[str, Any]

TYPES = {
    "id": {"type": "integer"},
    "name": {"type": "string"},
    "group": {"type": "string"},
    "amount": {"type": "number"},
    "updated_at": {"type": "string", "format": "date-time"},
    "tags": {"type": "array", "items": {"type": "string"}},
}
START = "2024-01-01T00:00:00Z"
END = "2024-06-01T00:00:00Z"


def requester(path: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "HttpRequester",
        "url_base": "{{ config['url'] }}",
        "path": path,
        "http_method": "GET",
        "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['api_key'] }}"},
        **more,
    }


def selector(*path: str, **more: Any) -> dict[str, Any]:
    extractor = {"type": "DpathExtractor", "field_path": list(path)}
    return {"type": "RecordSelector", "extractor": extractor, **more}


def option(name: str, into: str = "request_parameter") -> dict[str, str]:
    return {"type": "RequestOption", "inject_into": into, "field_name": name}


def paginator(strategy: dict[str, Any], token: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "DefaultPaginator",
        "pagination_strategy": strategy,
        "page_token_option": token,
    }


OFFSETS = paginator({"type": "OffsetIncrement", "page_size": 20}, option("offset"))


def stream(
    name: str = "items",
    path: str = "/offset",
    *,
    key: Any = "id",
    records: dict[str, Any] | None = None,
    types: dict[str, Any] | None = None,
    requester_more: dict[str, Any] | None = None,
    incremental: dict[str, Any] | None = None,
    **retriever: Any,
) -> dict[str, Any]:
    found = {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": key,
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": TYPES if types is None else types},
        },
        "retriever": {
            "type": "SimpleRetriever",
            "requester": requester(path, **(requester_more or {})),
            "record_selector": records or selector("data"),
            **retriever,
        },
    }
    return found | ({"incremental_sync": incremental} if incremental else {})


def by_date(**more: Any) -> dict[str, Any]:
    return {
        "type": "DatetimeBasedCursor",
        "cursor_field": "updated_at",
        "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "{{ config['start_date'] }}",
        "end_datetime": END,
        "start_time_option": option("since"),
        "end_time_option": option("until"),
        **more,
    }


WINDOWS = {"step": "P10D", "cursor_granularity": "PT1S"}


def source(*streams: dict[str, Any], **more: Any) -> Manifest:
    return {
        "version": "6.44.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [each["name"] for each in streams[:1]]},
        "streams": list(streams),
        "spec": {
            "type": "Spec",
            "connection_specification": {
                "type": "object",
                "required": ["api_key"],
                "properties": {
                    "api_key": {"type": "string", "airbyte_secret": True},
                    "url": {"type": "string"},
                    "region": {"oneOf": [{"title": "US", "const": "us"}, {"const": "eu"}]},
                    "start_date": {"type": "string", "default": START},
                    "tokens": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"refresh_token": {"type": "string", "airbyte_secret": True}},
                    },
                },
            },
        },
        **more,
    }


def children(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "SubstreamPartitionRouter",
        "parent_stream_configs": [
            {
                "type": "ParentStreamConfig",
                "stream": of,
                "parent_key": "code",
                "partition_field": "code",
                **more,
            }
        ],
    }


GROUP = stream("groups", "/groups", key="code", types={"code": {"type": "string"}})
IN_GROUP = {"request_parameters": {"group": "{{ stream_partition['code'] }}"}}
LIST = {
    "type": "ListPartitionRouter",
    "values": ["red", "green", "blue"],
    "cursor_field": "code",
}
CSV_TYPES = {"id": {"type": "integer"}, "name": {"type": "string"}, "amount": {"type": "number"}}


def delegating() -> dict[str, Any]:
    full = stream("items", "/offset", paginator=OFFSETS)
    changed = stream("items", "/changes", incremental=by_date())
    return {
        "type": "StateDelegatingStream",
        "name": "items",
        "full_refresh_stream": full,
        "incremental_stream": changed,
    }


def dynamic() -> Manifest:
    template = stream("to be filled", "to be filled")
    template["schema_loader"] = {
        "type": "DynamicSchemaLoader",
        "retriever": {
            "type": "SimpleRetriever",
            "requester": requester("/tables/any/columns"),
            "record_selector": selector(),
        },
        "schema_type_identifier": {
            "type": "SchemaTypeIdentifier",
            "schema_pointer": ["columns"],
            "key_pointer": ["name"],
            "type_pointer": ["kind"],
            "types_mapping": [
                {"target_type": "integer", "current_type": "whole"},
                {"target_type": "string", "current_type": "text"},
                {"target_type": "number", "current_type": "decimal"},
                {"target_type": "timestamp_with_timezone", "current_type": "moment"},
            ],
        },
    }
    resolver = {
        "type": "HttpComponentsResolver",
        "retriever": {
            "type": "SimpleRetriever",
            "requester": requester("/tables"),
            "record_selector": selector("data"),
        },
        "components_mapping": [
            {
                "type": "ComponentMappingDefinition",
                "field_path": ["name"],
                "value": "{{ components_values['code'] }}",
            },
            {
                "type": "ComponentMappingDefinition",
                "field_path": ["retriever", "requester", "path"],
                "value": "/tables/{{ components_values['code'] }}",
            },
        ],
    }
    manifest = source(GROUP)
    manifest["dynamic_streams"] = [
        {
            "type": "DynamicDeclarativeStream",
            "stream_template": template,
            "components_resolver": resolver,
        }
    ]
    return manifest


def with_job() -> dict[str, Any]:
    found = stream("items", types=CSV_TYPES)
    found["retriever"] = {
        "type": "AsyncRetriever",
        "status_mapping": {
            "type": "AsyncJobStatusMap",
            "running": ["running"],
            "completed": ["done"],
            "failed": ["failed"],
            "timeout": ["timeout"],
        },
        "status_extractor": {"type": "DpathExtractor", "field_path": ["status"]},
        "download_target_extractor": {"type": "DpathExtractor", "field_path": ["url"]},
        "creation_requester": requester("/jobs", http_method="POST"),
        "polling_requester": requester("/jobs/{{ creation_response['id'] }}"),
        "download_requester": {
            "type": "HttpRequester",
            "url_base": "{{ download_target }}",
            "http_method": "GET",
        },
        "download_decoder": {"type": "CsvDecoder"},
        "record_selector": selector(),
    }
    return found


def with_oauth() -> dict[str, Any]:
    authenticator = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "{{ config['url'] }}/token",
        "client_id": "client",
        "client_secret": "{{ config['api_key'] }}",
        "refresh_token": "{{ config['tokens']['refresh_token'] }}",
        "refresh_token_updater": {
            "refresh_token_config_path": ["tokens", "refresh_token"],
            "access_token_config_path": ["tokens", "access_token"],
            "token_expiry_date_config_path": ["tokens", "expires"],
        },
    }
    return stream("items", "/guarded", requester_more={"authenticator": authenticator})


def exported() -> Manifest:
    """As the Connector Builder exports them: wrapped, with references and its own metadata."""
    manifest = source({"name": "items", "$ref": "#/definitions/streams/items"})
    items = stream("items", "/offset", paginator=OFFSETS)
    items["schema_loader"]["schema"] = {"$ref": "#/schemas/items"}
    manifest |= {
        "definitions": {"streams": {"items": items}},
        "schemas": {"items": {"type": "object", "properties": TYPES}},
        "metadata": {"autoImportSchema": {"items": True}, "yamlComponents": {"global": []}},
        "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": 3},
    }
    return {"__injected_declarative_manifest": manifest}


FULL: dict[str, Manifest] = {
    "offset pages": source(stream(paginator=OFFSETS)),
    "numbered pages": source(
        stream(
            path="/page",
            records=selector(),
            paginator=paginator(
                {"type": "PageIncrement", "page_size": 20, "start_from_page": 1}, option("page")
            ),
        )
    ),
    "cursor pages": source(
        stream(
            path="/cursor",
            paginator=paginator(
                {"type": "CursorPagination", "cursor_value": "{{ response.next }}"}, option("after")
            ),
        )
    ),
    "link pages": source(
        stream(
            path="/link",
            records=selector(),
            paginator=paginator(
                {
                    "type": "CursorPagination",
                    "cursor_value": "{{ headers['link']['next']['url'] }}",
                    "stop_condition": "{{ 'next' not in headers['link'] }}",
                },
                {"type": "RequestPath"},
            ),
        )
    ),
    "pages in the body": source(
        stream(
            path="/body",
            records=selector("found", "items"),
            requester_more={"http_method": "POST"},
            paginator=paginator(
                {"type": "OffsetIncrement", "page_size": 20}, option("skip", "body_json")
            ),
        )
    ),
    "substream": source(
        stream(path="/groups/{{ stream_partition['code'] }}", partition_router=children(GROUP))
    ),
    "list of partitions": source(
        stream(path="/in", requester_more=IN_GROUP, partition_router=LIST)
    ),
    "grouped partitions": source(
        stream(
            path="/groups/{{ stream_partition['code'] | join(',') }}",
            partition_router={
                "type": "GroupingPartitionRouter",
                "group_size": 2,
                "underlying_partition_router": children(GROUP),
            },
        )
    ),
    "JSON lines": source(
        stream(path="/lines", records=selector(), decoder={"type": "JsonlDecoder"})
    ),
    "CSV": source(
        stream(path="/csv", records=selector(), types=CSV_TYPES, decoder={"type": "CsvDecoder"})
    ),
    "gzip": source(
        stream(
            path="/packed",
            records=selector(),
            decoder={"type": "GzipDecoder", "decoder": {"type": "JsonlDecoder"}},
        )
    ),
    "asynchronous job": source(with_job()),
    "OAuth": source(with_oauth()),
    "Connector Builder": exported(),
}
INCREMENTAL: dict[str, Manifest] = {
    "dates": source(stream(paginator=OFFSETS, incremental=by_date())),
    "windows of dates": source(
        stream(paginator=OFFSETS, incremental=by_date(**WINDOWS)),
        concurrency_level={"type": "ConcurrencyLevel", "default_concurrency": 4},
    ),
    "client side": source(
        stream(
            path="/cursor",
            paginator=FULL["cursor pages"]["streams"][0]["retriever"]["paginator"],
            incremental={
                name: rule
                for name, rule in by_date(is_client_side_incremental=True).items()
                if not name.endswith("option")
            },
        )
    ),
    "dates of partitions": source(
        stream(path="/in", requester_more=IN_GROUP, partition_router=LIST, incremental=by_date())
    ),
    "dates of a substream": source(
        stream(
            path="/in",
            requester_more=IN_GROUP,
            partition_router=children(GROUP),
            incremental=by_date(global_substream_cursor=True),
        )
    ),
    "children of parents that have changed": source(
        stream(
            path="/item/{{ stream_partition['code'] }}",
            partition_router=children(
                stream("parents", paginator=OFFSETS, incremental=by_date(**WINDOWS)),
                parent_key="id",
                incremental_dependency=True,
            ),
            incremental=by_date(),
        )
    ),
    "state delegation": source(delegating()),
}
ALL = FULL | INCREMENTAL
