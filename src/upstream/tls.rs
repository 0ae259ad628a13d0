//! TLS towards upstreams and issuers.
