/// A library that tests preload into a daemon, to let things go wrong in it at a moment that they
/// choose. What it does is said by variables of the environment; without them it does nothing.
///
/// - `FAULT_TRAP_BEFORE=n`: the process dies of SIGILL when it is about to send the n-th answer to
///   the kernel, so in the middle of a request. The first is that to INIT; over io_uring, each
///   submission of one entry is an answer.
/// - `FAULT_TRAP_AFTER=n`: the same, when the kernel has that answer.
/// - `FAULT_REGISTER=1`: over io_uring the kernel refuses the entries of all queues but one.
/// - `FAULT_FLUSH_HOLD=path`: while there is a file `path`, fdatasync(2) waits. It makes the file
///   `path.held` before.
/// - `FAULT_FLUSH_MICROSECONDS=n`: fdatasync(2) takes so long at least.
