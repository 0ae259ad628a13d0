//! Bodies of requests and answers on their way through.
