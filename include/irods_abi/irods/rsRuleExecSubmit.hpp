// SPDX-License-Identifier: BSD-3-Clause
// Puts a job into the delay queue.
#ifndef IRODS_ABI_RS_RULE_EXEC_SUBMIT_HPP
#define IRODS_ABI_RS_RULE_EXEC_SUBMIT_HPP

#include "irods/ruleExecSubmit.h"

struct RsComm;

int rsRuleExecSubmit(RsComm* rsComm, ruleExecSubmitInp_t* ruleExecSubmitInp, char** ruleExecId);

#endif // IRODS_ABI_RS_RULE_EXEC_SUBMIT_HPP
