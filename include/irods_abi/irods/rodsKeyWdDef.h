// SPDX-License-Identifier: BSD-3-Clause
// Keywords of KeyValPair, as far as a plugin meets them.
#ifndef IRODS_ABI_RODS_KEY_WD_DEF_H
#define IRODS_ABI_RODS_KEY_WD_DEF_H

#define ALL_KW "all"
#define COPIES_KW "copies"
#define EXEC_LOCALLY_KW "execLocally"
#define FORCE_FLAG_KW "forceFlag"
#define REG_CHKSUM_KW "regChksum"
#define VERIFY_CHKSUM_KW "verifyChksum"
#define RESC_NAME_KW "rescName"
#define DEST_RESC_NAME_KW "destRescName"
#define DEF_RESC_NAME_KW "defRescName"
#define DATA_TYPE_KW "dataType"
#define DATA_SIZE_KW "dataSize"
#define FILE_PATH_KW "filePath"
#define REPL_NUM_KW "replNum"
#define METADATA_INCLUDED_KW "metadataIncluded"
#define ACL_INCLUDED_KW "aclIncluded"
#define DATA_INCLUDED_KW "dataIncluded"
#define NO_OPEN_FLAG_KW "noOpenFlag"
#define COLLECTION_KW "collection"
#define ADMIN_KW "irodsAdmin"
#define ADMIN_RMTRASH_KW "irodsAdminRmTrash"
#define UNREG_KW "unreg"
#define RMTRASH_KW "irodsRmTrash"
#define RECURSIVE_OPR__KW "recursiveOpr"
#define UPDATE_REPL_KW "updateRepl"
#define NUM_THREADS_KW "numThreads"
#define OPEN_TYPE_KW "openType"
#define BULK_OPR_KW "bulkOpr"
#define REG_REPL_KW "regRepl"
#define REPLICA_TOKEN_KW "replicaToken"
#define RESC_HIER_STR_KW "resc_hier"
#define INSTANCE_NAME_KW "instance_name"

#endif // IRODS_ABI_RODS_KEY_WD_DEF_H
