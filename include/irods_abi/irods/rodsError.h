// SPDX-License-Identifier: BSD-3-Clause
// The messages a session hands to its client beside the numeric code.
#ifndef IRODS_ABI_RODS_ERROR_H
#define IRODS_ABI_RODS_ERROR_H

#define ERR_MSG_LEN 1024

typedef struct ErrorMessage {
    int status;
    char msg[ERR_MSG_LEN];
} rErrMsg_t;

typedef struct ErrorStack {
    int len;
    struct ErrorMessage** errMsg;
} rError_t;

extern "C" {

// Copies `msg` (cut to ERR_MSG_LEN - 1 bytes) onto the stack.
int addRErrorMsg(struct ErrorStack* myError, const int status, const char* msg);

} // extern "C"

#endif // IRODS_ABI_RODS_ERROR_H
