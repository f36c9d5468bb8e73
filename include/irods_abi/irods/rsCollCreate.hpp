// SPDX-License-Identifier: BSD-3-Clause
// Makes a collection.
#ifndef IRODS_ABI_RS_COLL_CREATE_HPP
#define IRODS_ABI_RS_COLL_CREATE_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsCollCreate(rsComm_t* rsComm, collInp_t* collCreateInp);

#endif // IRODS_ABI_RS_COLL_CREATE_HPP
