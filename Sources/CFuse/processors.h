/// Processors of this process, and of others.
#ifndef CFUSE_PROCESSORS_H
#define CFUSE_PROCESSORS_H

#include <stdbool.h>
#include <stdint.h>

/// The processors that this process may use, at most `size`: their number, or 0 when it is not known.
unsigned processors_of_process(int *processors, unsigned size);

/// From now on this thread runs on `processor` alone, or with -1 wherever the process may. False if
/// it may not run there.
bool run_on_processor(int processor);

/// The processor on which a thread of whichever process ran last; -1 when it is not known. For one
/// caller at a time.
int last_processor_of(uint32_t thread);

#endif
