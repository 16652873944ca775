"""Does every setting have its value? No variable may be missing, empty or still an example."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stack.check.report import Context, Result, failed, passed
from stack.project import Plugin, Setting

# As Meltano finds them: no other `$` means a variable, nor one behind a backslash.
REFERENCE = re.compile(r"(?<!\\)\$(?:\{(\w+)\}|([A-Z][A-Z0-9_]*))")
# Set by Meltano itself, some of them only while it runs a job.
MELTANOS_OWN = "MELTANO_"
# The sandbox's secrets open nothing.
LOCAL = "local"
YAML = ("meltano_yml", "meltano_environment")
PLACEHOLDER = re.compile(
    r"<.*>|\.{3}|…|x{3,}|change[-_ ]?(it|me|this).*|(put|insert|enter)[-_ ].*|your?[-_ ].*"
    r"|todo.*|tbd|fixme.*|placeholder.*|example|(.*[/.@])?example\.(com|org|net)([/:].*)?",
    re.IGNORECASE,
)


def check(
    context: Context, plugins: Sequence[Plugin], besides: Sequence[Plugin] = ()
) -> Iterator[Result]:
    """Yield a line for each variable that isn't right, or one for all.

    Args:
        context: the project.
        plugins: whose settings.
        besides: plugins whose variables are looked at elsewhere.
    """
    seen = {
        name
        for plugin in besides
        for setting in plugin.settings.values()
        for name in references(setting.written)
    }
    count = 0
    wrong = False
    for plugin in plugins:
        for setting in plugin.settings.values():
            count += setting.value is not None
            if context.environment != LOCAL and setting.sensitive and _is_written_down(setting):
                wrong = True
                yield _in_yaml(plugin, setting)
            for name in references(setting.written):
                if name in seen or name.startswith(MELTANOS_OWN):
                    continue
                seen.add(name)
                if fault := _fault(context, name, plugin, setting):
                    wrong = True
                    yield fault
    if not wrong:
        yield passed("settings", f"{count} with a value, no variable missing or empty")


def _is_written_down(setting: Setting) -> bool:
    has_value = setting.value not in (None, "") and setting.source in YAML
    # Where a key lies is no secret.
    is_path = has_value and Path(str(setting.value)).expanduser().is_file()
    return has_value and not is_path and not any(references(setting.written))


def _in_yaml(plugin: Plugin, setting: Setting) -> Result:
    name = f"{plugin.namespace}_{setting.name}".upper()
    mend = f"Put its value into .env as `{name}`, and write `{setting.name}: ${{{name}}}`."
    return failed(setting.name, f"a secret of {plugin.name} is written in YAML", mend)


def references(written: Any) -> Iterator[str]:
    """Yield the variables that a setting refers to, as it is written."""
    match written:
        case str():
            yield from (found[1] or found[2] for found in REFERENCE.finditer(written))
        case dict():
            for value in written.values():
                yield from references(value)
        case list():
            for value in written:
                yield from references(value)


def _fault(context: Context, name: str, plugin: Plugin, setting: Setting) -> Result | None:
    value = context.variables.get(name)
    reads = f"`{setting.name}` of {plugin.name} reads it"
    put = f"Put `{name}=…` into .env, or set it where jobs run."
    if value is None:
        return failed(name, f"isn't set; {reads}", put)
    if not value.strip():
        return failed(name, f"is empty; {reads}", put)
    if PLACEHOLDER.fullmatch(value.strip()):
        return failed(name, f"is still an example; {reads}", put)
    if setting.value is None:
        mend = f"Correct `{name}` in .env, or where jobs set it."
        return failed(name, f"isn't what the setting takes; {reads}", mend)
    return None


def where(plugin: Plugin, name: str) -> str:
    """Return where a setting's value is to be corrected."""
    setting = plugin.settings.get(name)
    found = list(references(setting.written)) if setting else []
    return f"`{found[0]}` in .env" if found else f"`{name}` of {plugin.name}"
