//! Faults that are planted to see that they are found.

/// One thing that is done wrong beside bearerd, which looks as if bearerd did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An upstream now and then gives the answer of another request.
    SwappedAnswers,
    /// An upstream now and then changes a byte of an answer's body.
    ChangedByte,
    /// An upstream now and then breaks an answer off.
    CutAnswers,
    /// A client now and then sends a request twice.
    RepeatedRequests,
    /// The tokens of one credential are taken for another's.
    ForeignTokens,
    /// Tokens count as ended when they are issued.
    ShortLivedTokens,
    /// A route that should stay is missing after a reload.
    LostRoute,
    /// The configuration of a reload has a mistake.
    BadReload,
    /// Clients leave connections open and open more.
    HoardedConnections,
    /// An upstream shows tokens in its answers.
    ShownTokens,
}
