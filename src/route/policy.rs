//! What a route lets pass.
