use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::MAX_BODY;
use crate::control::address;
use crate::control::ask::Refusal;
use crate::control::maps::MapError;
use crate::control::wire::Failure;

/// An error as the API tells it.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) error: String,
}

pub(in crate::control) type Answer<T> = Result<Json<T>, Problem>;

/// A 200 with a JSON body.
pub(in crate::control) struct Json<T>(pub(in crate::control) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => Problem::internal(error.to_string()).into_response(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let failure = Failure { error: self.error, code: self.code.to_owned() };
        // two strings always have a JSON form
        json(self.status, serde_json::to_vec(&failure).unwrap_or_default())
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

impl Problem {
    pub(in crate::control) fn bad_request(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", error: error.into() }
    }

    pub(super) fn internal(error: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", error: error.into() }
    }
}

impl From<address::AddressError> for Problem {
    fn from(error: address::AddressError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_address", error: error.to_string() }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let error = format!("the body is larger than {MAX_BODY} bytes: send one rule a request");
            return Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: "too_large", error };
        }
        Self::bad_request(rejection.body_text())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::Guarded { .. } => (StatusCode::CONFLICT, "guarded"),
            Refusal::Trusted { .. } => (StatusCode::CONFLICT, "trusted"),
            Refusal::Allowed { .. } => (StatusCode::CONFLICT, "allowed"),
            Refusal::TooWide { .. } => (StatusCode::CONFLICT, "too_wide"),
            Refusal::NotForFeeds { .. } => (StatusCode::FORBIDDEN, "not_for_feeds"),
            Refusal::Undone { .. } => (StatusCode::CONFLICT, "undone"),
            Refusal::Anew { .. } | Refusal::TakenBack | Refusal::Gone => (StatusCode::CONFLICT, "changed"),
            Refusal::NoSuchRule { .. } => (StatusCode::NOT_FOUND, "no_such_rule"),
            Refusal::NothingToUndo | Refusal::NoSuchSet { .. } => (StatusCode::NOT_FOUND, "no_such_change"),
            Refusal::Covered { .. } => (StatusCode::NOT_FOUND, "covered"),
            Refusal::Ttl { .. } | Refusal::Past { .. } => (StatusCode::BAD_REQUEST, "bad_ttl"),
            Refusal::Reason { .. } => (StatusCode::BAD_REQUEST, "bad_reason"),
            Refusal::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
            Refusal::Maps(error) if matches!(**error, MapError::Full { .. }) => {
                (StatusCode::INSUFFICIENT_STORAGE, "map_full")
            }
            Refusal::Maps(_) => (StatusCode::INTERNAL_SERVER_ERROR, "maps"),
        };
        Self { status, code, error: refusal.to_string() }
    }
}
