// SPDX-License-Identifier: BSD-3-Clause
// Sets a permission.
#ifndef IRODS_ABI_RS_MOD_ACCESS_CONTROL_HPP
#define IRODS_ABI_RS_MOD_ACCESS_CONTROL_HPP

#include "irods/modAccessControl.h"
#include "irods/rcConnect.h"

int rsModAccessControl(rsComm_t* rsComm, modAccessControlInp_t* modAccessControlInp);

#endif // IRODS_ABI_RS_MOD_ACCESS_CONTROL_HPP
