"""The pretend cloud's metadata server: who the bot is, and its tokens, in the format of the real one."""

from aiohttp import web

from sandbox.cloud.tokens import ACCOUNT, Tokens

FLAVOR = "Metadata-Flavor"
PROJECT = "sandbox"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
ROOT = "/computeMetadata/v1/"


def is_asked_rightly(request: web.Request) -> bool:
    """Whether the header is there without which the real one answers nobody, lest it be asked by mistake."""
    return request.headers.get(FLAVOR) == "Google" and "X-Forwarded-For" not in request.headers


def answer(request: web.Request, tokens: Tokens) -> web.Response:
    """Answer what Google's own libraries ask; 403 without the header, 404 for the rest."""
    response = _answer(request, tokens) if is_asked_rightly(request) else _forbidden()
    response.headers[FLAVOR] = "Google"
    response.headers["Server"] = "Metadata Server for VM"
    return response


def _answer(request: web.Request, tokens: Tokens) -> web.Response:
    path = request.path.removeprefix(ROOT)
    account, _, asked = path.removeprefix("instance/service-accounts/").partition("/")
    if path == "project/project-id":
        return web.Response(text=PROJECT)
    if path == "universe/universe-domain":
        return web.Response(text="googleapis.com")
    if path in {"", "/"}:
        return web.Response(text="instance/\nproject/\n")
    if path == request.path or account not in {"default", ACCOUNT}:
        return web.Response(status=404, text="Not found")
    match asked:
        case "token":
            text, seconds = tokens.access()
            return web.json_response({"access_token": text, "expires_in": seconds, "token_type": "Bearer"})
        case "identity":
            audience = request.query.get("audience", "")
            if not audience:
                return web.Response(status=400, text="non-empty audience parameter required")
            return web.Response(text=tokens.identity(audience))
        case "" if request.query.get("recursive", "").lower() == "true":
            return web.json_response({"aliases": ["default"], "email": ACCOUNT, "scopes": SCOPES})
        case "email":
            return web.Response(text=ACCOUNT)
        case _:
            return web.Response(status=404, text="Not found")


def _forbidden() -> web.Response:
    return web.Response(status=403, text="Missing Metadata-Flavor:Google header.")
