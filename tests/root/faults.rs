//! Every step fails in turn, and system calls fail: a clear word, the right exit code, and nothing left behind.
