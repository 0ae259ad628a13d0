//! One request to an issuer and its whole answer.
