// SPDX-License-Identifier: BSD-3-Clause
// What a rule engine answers besides an error: go on, or leave the operation out.
#ifndef IRODS_ABI_IRODS_STATE_TABLE_H
#define IRODS_ABI_IRODS_STATE_TABLE_H

enum IRODS_STATE_ENUM
{
    RULE_ENGINE_CONTINUE = 5000000,
    RULE_ENGINE_SKIP_OPERATION = 5001000
};

#endif // IRODS_ABI_IRODS_STATE_TABLE_H
