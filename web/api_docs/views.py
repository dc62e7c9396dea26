"""/openapi.json and /docs: the OpenAPI document, and Swagger UI from files served here."""

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import flask_swagger_ui
from flask import Blueprint, Flask, Response, request, send_from_directory
from flask_smorest import Api
from werkzeug.exceptions import NotFound

from web.api_docs import openapi
from web.http import schemas

TITLE = "Chat Storage API"
CONFIG = {
    "API_TITLE": TITLE,
    "API_VERSION": "v1",
    "OPENAPI_VERSION": "3.0.3",
}

blp = Blueprint("docs", __name__)

_DIST = Path(flask_swagger_ui.__file__).parent / "dist"
_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
# $root is the path prefix of a reverse proxy, usually empty.
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{TITLE}</title>
<link rel="icon" href="$root/docs/favicon-32x32.png">
<link rel="stylesheet" href="$root/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="$root/docs/swagger-ui-bundle.js"></script>
<script src="$root/docs/start.js"></script>
</body>
</html>
"""
# By default, Swagger UI fills a form's optional fields with invented values, and sends fields
# that the user has cleared. So an upload would name a session that does not exist.
_START = """const OptionalFieldsAreLeftOut = () => ({
  wrapComponents: {
    JsonSchemaForm: (Original, { React }) => (props) => {
      const isOptional = props.dispatchInitialValue && !props.required;
      const isText = props.schema.get("type") === "string";
      const change = isOptional && isText ? { dispatchInitialValue: false } : {};
      return React.createElement(Original, { ...props, ...change });
    },
    ParameterIncludeEmpty: (Original, { React }) => (props) => {
      const options = { ...props.isIncludedOptions, defaultValue: false };
      return React.createElement(Original, { ...props, isIncludedOptions: options });
    },
  },
});
SwaggerUIBundle({
  url: "$root/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
  plugins: [OptionalFieldsAreLeftOut],
});
"""


@blp.get("/")
def home() -> Response:
    """Redirect a browser that opens the API's address to the documentation."""
    return Response(status=302, headers={"Location": "/docs"})


@blp.get("/docs")
def page() -> Response:
    html = _PAGE.replace("$root", request.script_root)
    return Response(html, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})


@blp.get("/docs/start.js")
def start() -> Response:
    script = _START.replace("$root", request.script_root)
    return Response(script, mimetype="text/javascript")


@blp.get("/docs/<name>")
def file(name: str) -> Response:
    if name not in _FILES:
        raise NotFound
    return send_from_directory(_DIST, name, max_age=86_400)


def init_app(app: Flask, api: Api) -> None:
    app.register_blueprint(blp)
    api.spec.components.schema("Problem", schema=schemas.Problem)

    @cache
    def document() -> dict[str, Any]:
        return openapi.build(app, api)

    @lru_cache(maxsize=8)
    def encoded(root: str) -> bytes:
        servers = {"servers": [{"url": root}]} if root else {}
        return json.dumps(document() | servers, ensure_ascii=False).encode()

    @app.get("/openapi.json")
    def serve_openapi() -> Response:
        return Response(encoded(request.script_root), mimetype="application/json")
