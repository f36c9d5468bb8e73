// SPDX-License-Identifier: BSD-3-Clause
// The server's log. Smaller levels are graver.
#ifndef IRODS_ABI_RODS_LOG_H
#define IRODS_ABI_RODS_LOG_H

#include "irods/rodsError.h"

#define LOG_SYS_FATAL 1
#define LOG_SYS_WARNING 2
#define LOG_ERROR 3
#define LOG_WARNING 4
#define LOG_NOTICE 5
#define LOG_STATUS 5
#define LOG_DEBUG6 6
#define LOG_DEBUG 7
#define LOG_DEBUG8 8
#define LOG_DEBUG9 9
#define LOG_DEBUG10 10

extern "C" {

// printf-like. Never pass a text that is not a literal as the format.
void rodsLog(int level, const char* formatStr, ...);

} // extern "C"

#endif // IRODS_ABI_RODS_LOG_H
