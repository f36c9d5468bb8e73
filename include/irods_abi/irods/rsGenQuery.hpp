// SPDX-License-Identifier: BSD-3-Clause
// GenQuery, the first. Release the answer with freeGenQueryOut().
#ifndef IRODS_ABI_RS_GEN_QUERY_HPP
#define IRODS_ABI_RS_GEN_QUERY_HPP

#include "irods/rcConnect.h"
#include "irods/rodsGenQuery.h"

int rsGenQuery(rsComm_t* rsComm, genQueryInp_t* genQueryInp, genQueryOut_t** genQueryOut);

#endif // IRODS_ABI_RS_GEN_QUERY_HPP
