//! Upstream connections that wait for their next request.
