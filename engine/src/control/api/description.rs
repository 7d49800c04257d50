//! What the API says of itself: OpenAPI 3.1. Each route stands in it because it is made from what stands there.

use std::sync::Arc;

use axum::extract::{Extension, State};
use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};
use utoipa::{Modify, OpenApi as _};

use super::{Answer, Json, Shared};
use crate::control::wire::Failure;

/// Where it is served.
pub(super) const PATH: &str = "/v1/openapi.json";

/// How whoever comes over TCP is known.
const TOKEN: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "vos-engine",
        description = "What is dropped at the NIC, by whom, and why. Served on a unix socket, whose group may use it, and \
                       where [api] of vos.toml says so over TCP for whoever shows the token.",
    ),
    components(schemas(Failure)),
    security((), ("token" = [])),
    modifiers(&Token),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The line in api.token_file"));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme.build()));
    }
}

/// What every request may be told beside what is its own: status and when.
const ALWAYS: [(&str, &str); 4] = [
    ("400", "What is asked for makes no sense; `error` says what would."),
    ("401", "Over TCP: no token, or a wrong one."),
    ("405", "This path does not take that method."),
    ("500", "It was not done, and the fault is here: `error` says what to do."),
];
/// The same of requests with a body.
const WITH_BODY: (&str, &str) = ("413", "The body is too large.");

/// The description before routes are added.
pub(super) fn begin() -> OpenApi {
    Description::openapi()
}

/// Adds what all requests have in common.
pub(super) fn finish(mut api: OpenApi) -> Value {
    for item in api.paths.paths.values_mut() {
        for operation in operations(item) {
            for (status, when) in ALWAYS.into_iter().chain(operation.request_body.is_some().then_some(WITH_BODY)) {
                let failure = || {
                    let schema = Ref::from_schema_name("Failure");
                    let content = ContentBuilder::new().schema(Some(schema)).build();
                    RefOr::T(ResponseBuilder::new().description(when).content("application/json", content).build())
                };
                operation.responses.responses.entry(status.to_owned()).or_insert_with(failure);
            }
        }
    }
    // numbers and strings always have a JSON form
    let mut api = serde_json::to_value(api).unwrap_or_default();
    spell_formats(&mut api);
    api
}

/// utoipa writes `u-int64`, the registry has `uint64` (<https://spec.openapis.org/registry/format/>).
fn spell_formats(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(format)) = members.get_mut("format")
                && let Some(bits) = format.strip_prefix("u-int")
            {
                *format = format!("uint{bits}");
            }
            members.values_mut().for_each(spell_formats);
        }
        Value::Array(values) => values.iter_mut().for_each(spell_formats),
        _ => {}
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = item;
    [get, put, post, delete].into_iter().flatten()
}

/// The description of all routes, finished.
pub(super) type Described = Extension<Arc<Value>>;

/// This description.
#[utoipa::path(get, path = PATH, responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi(State(_): State<Shared>, Extension(api): Described) -> Answer<Arc<Value>> {
    Ok(Json(api))
}
