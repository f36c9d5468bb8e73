// SPDX-License-Identifier: BSD-3-Clause
// Compiling this file is the test: our declarations of the iRODS plugin interface must have the layouts
// measured on a real server, or a static_assert names the line of abi_table.inc that does not hold.
//
//     g++ -std=c++17 -fsyntax-only -I include/irods_abi tests/abi/abi_test.cpp
//
// With -DABI_TEST_MUST_FAIL one deliberately wrong number is added; a build that still passes checks nothing.

#include "irods/bulkDataObjPut.h"
#include "irods/dataObjCopy.h"
#include "irods/dataObjInpOut.h"
#include "irods/genquery2.h"
#include "irods/irods_error.hpp"
#include "irods/irods_exception.hpp"
#include "irods/irods_lookup_table.hpp"
#include "irods/irods_re_plugin.hpp"
#include "irods/irods_re_structs.hpp"
#include "irods/irods_version.h"
#include "irods/modAVUMetadata.h"
#include "irods/msParam.h"
#include "irods/objStat.h"
#include "irods/rcConnect.h"
#include "irods/rodsGenQuery.h"
#include "irods/rodsUser.h"
#include "irods/ruleExecSubmit.h"
#include "irods/structFileExtAndReg.h"

#include <boost/any.hpp>
#include <boost/optional.hpp>

#include <type_traits>
#include <utility>

// offsetof on classes with private members is conditionally supported; GCC and Clang support it and warn.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace irods_abi
{
    // Lets a type with commas be one macro argument.
    template <typename T>
    using same = T;

    // The headers name this struct a friend, so that private members can be measured.
    struct layout
    {
#define ABI_TYPE(SIZE, ALIGN, ...)                                                   \
    static_assert(sizeof(same<__VA_ARGS__>) == (SIZE), "size of " #__VA_ARGS__);     \
    static_assert(alignof(same<__VA_ARGS__>) == (ALIGN), "alignment of " #__VA_ARGS__);

#define ABI_MEMBER(OFFSET, SIZE, MEMBER, ...)                                                            \
    static_assert(__builtin_offsetof(same<__VA_ARGS__>, MEMBER) == (OFFSET), "offset of " #MEMBER);      \
    static_assert(sizeof(std::declval<same<__VA_ARGS__>&>().MEMBER) == (SIZE), "size of member " #MEMBER);

// What is a reference in the server is a pointer here: same room, and it can be measured.
#define ABI_REFERENCE(OFFSET, SIZE, MEMBER, ...)                                                     \
    static_assert(__builtin_offsetof(same<__VA_ARGS__>, MEMBER) == (OFFSET), "offset of " #MEMBER);  \
    static_assert(sizeof(*std::declval<same<__VA_ARGS__>&>().MEMBER) == (SIZE), "size behind " #MEMBER);

#include "abi_table.inc"

#ifdef ABI_TEST_MUST_FAIL
        ABI_MEMBER(1129, 24, condInput, DataObjInp)
#endif
    };
} // namespace irods_abi

// boost::any compares these names, so a struct known only by another tag would never be recognised.
static_assert(std::is_same_v<dataObjInp_t, struct DataObjInp>);
static_assert(std::is_same_v<dataObjCopyInp_t, struct DataObjCopyInp>);
static_assert(std::is_same_v<openedDataObjInp_t, struct OpenedDataObjInp>);
static_assert(std::is_same_v<collInp_t, struct CollInp>);
static_assert(std::is_same_v<bytesBuf_t, struct BytesBuf>);
static_assert(std::is_same_v<bulkOprInp_t, struct BulkOperationInp>);
static_assert(std::is_same_v<modAVUMetadataInp_t, struct ModifyAVUMetadataInput>);
static_assert(std::is_same_v<structFileExtAndRegInp_t, struct StructFileExtAndRegInp>);
static_assert(std::is_same_v<ruleExecInfo_t, struct RuleExecInfo>);
static_assert(std::is_same_v<rodsObjStat_t, struct rodsObjStat>);
static_assert(std::is_same_v<portalOprOut_t, struct portalOprOut>);
