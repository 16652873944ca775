"""Authentication: API keys, sessions, and their users and groups.

Only hashes are stored, so that nobody can log in with the content of the state file.
"""

import hashlib
import secrets
import uuid

from sandbox.metabase import errors
from sandbox.metabase.store import (
    ADMINISTRATORS_GROUP,
    ALL_USERS_GROUP,
    ApiKey,
    Session,
    State,
    User,
    next_id,
    now,
)

GROUPS = {ALL_USERS_GROUP: "All Users", ADMINISTRATORS_GROUP: "Administrators"}


def hash_token(token: str) -> str:
    """Hash a key or session ID. These are long and random, and need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """Hash a password with scrypt and a salt: `salt$hash` in hexadecimal digits."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${_scrypt(password, salt).hex()}"


def password_matches(password: str, password_hash: str) -> bool:
    """Tell whether the hash belongs to this password."""
    salt, digest = (bytes.fromhex(part) for part in password_hash.split("$"))
    return secrets.compare_digest(_scrypt(password, salt), digest)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def authenticated(state: State, api_key: str | None, session_id: str | None) -> User:
    """Return the user of an API key, else of a session.

    Raises:
        ApiError: 401 if neither is known.
    """
    if api_key is not None:
        digest = hash_token(api_key)
        for key in state.api_keys.values():
            if key.key_hash == digest:
                return state.users[key.user_id]
    if session_id is not None and (session := state.sessions.get(hash_token(session_id))):
        return state.users[session.user_id]
    raise errors.unauthenticated()


def open_session(state: State, username: str, password: str) -> str:
    """Return the ID of a new session.

    Raises:
        ApiError: 401, with the same message for an unknown user and for a wrong password.
    """
    user = next((u for u in state.users.values() if u.email == username.lower()), None)
    if not (user and user.password_hash and password_matches(password, user.password_hash)):
        raise errors.ApiError(401, {"errors": {"password": "did not match stored password"}})
    session_id = str(uuid.uuid4())
    session = Session(id_hash=hash_token(session_id), user_id=user.id)
    state.sessions[session.id_hash] = session
    user.last_login = now()
    return session_id


def create_api_key(state: State, name: str, group_id: int, key: str, updated_by: User) -> ApiKey:
    """Add the key, and the user that Metabase creates for each key."""
    user = User(
        id=next_id(state.users),
        email=f"api-key-user-{uuid.uuid4()}@api-key.invalid",
        first_name=name,
        last_name="",
        password_hash=None,
        group_ids=sorted({ALL_USERS_GROUP, group_id}),
        date_joined=now(),
    )
    api_key = ApiKey(
        id=next_id(state.api_keys),
        name=name,
        user_id=user.id,
        group_id=group_id,
        key_hash=hash_token(key),
        masked_key=mask(key),
        updated_by_id=updated_by.id,
    )
    state.users[user.id] = user
    state.api_keys[api_key.id] = api_key
    return api_key


def generate_key() -> str:
    """Return a new API key in Metabase's format."""
    return f"mb_{secrets.token_urlsafe(32)}"


def mask(key: str) -> str:
    """Return what Metabase shows of a key later: its first seven characters."""
    return key[:7] + "*" * 30
