// SPDX-License-Identifier: BSD-3-Clause
// Registers a file as a data object.
#ifndef IRODS_ABI_RS_PHY_PATH_REG_HPP
#define IRODS_ABI_RS_PHY_PATH_REG_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsPhyPathReg(rsComm_t* rsComm, dataObjInp_t* phyPathRegInp);

#endif // IRODS_ABI_RS_PHY_PATH_REG_HPP
