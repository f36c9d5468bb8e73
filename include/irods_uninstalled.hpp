// SPDX-License-Identifier: BSD-3-Clause
// Functions which the server exports, but whose declarations no installed iRODS header carries. Needed
// beside these declarations and beside the server's own headers alike.
#ifndef IRODS_ABI_IRODS_UNINSTALLED_HPP
#define IRODS_ABI_IRODS_UNINSTALLED_HPP

#include "irods/irods_re_structs.hpp"

// Queues `action` for later, as the session's user. `condition` is a row of elements: INST_NAME (which
// plugin instance), PLUSET (when), EF (repetition; at most 63 bytes). 0, or an error code.
int _delayExec(const char* action, const char* recovery, const char* condition, ruleExecInfo_t* rei);

#endif // IRODS_ABI_IRODS_UNINSTALLED_HPP
