// SPDX-License-Identifier: BSD-3-Clause
// The server functions plugins call, under the names libirods_server exports them. None fires an API PEP; the
// database operations behind them fire theirs. No exception leaves through them.
//
// ZONE_FAIL makes them fail, to see what a plugin makes of it: "genquery2=-806000,atomic=-818000:2" lets every
// GenQuery2 and the first two atomic metadata calls of each process end with these codes. ZONE_DIE kills an agent of
// the delay server before a call; see delay.cpp.

#include "genquery1.hpp"
#include "genquery2.hpp"
#include "meeting.hpp"
#include "metadata.hpp"
#include "operations.hpp"
#include "remote.hpp"
#include "session.hpp"
#include "support.hpp"

#include "irods/genquery2.h"
#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"
#include "irods/rsCollCreate.hpp"
#include "irods/rsDataObjChksum.hpp"
#include "irods/rsDataObjClose.hpp"
#include "irods/rsDataObjLseek.hpp"
#include "irods/rsDataObjOpen.hpp"
#include "irods/rsDataObjPhymv.hpp"
#include "irods/rsDataObjRead.hpp"
#include "irods/rsDataObjRename.hpp"
#include "irods/rsDataObjRepl.hpp"
#include "irods/rsDataObjUnlink.hpp"
#include "irods/rsDataObjWrite.hpp"
#include "irods/rsGenQuery.hpp"
#include "irods/rsModAVUMetadata.hpp"
#include "irods/rsModAccessControl.hpp"
#include "irods/rsModDataObjMeta.hpp"
#include "irods/rsObjStat.hpp"
#include "irods/rsRuleExecSubmit.hpp"
#include "irods/rs_atomic_apply_metadata_operations.hpp"
#include "irods/rs_genquery2.hpp"
#include "irods/rs_get_file_descriptor_info.hpp"
#include "irods/rs_touch.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

// Exported by the server, declared by none of the headers it installs.
int _delayExec(const char* action, const char* recovery, const char* condition, ruleExecInfo_t* rei);
int packReiAndArg(ruleExecInfo_t* rei, char* arguments[], int count, bytesBuf_t** packed);

// In headers a plugin has had no use for so far.
struct RuleExecDeleteInput
{
    char ruleExecId[NAME_LEN];
};
int rsRuleExecDel(RsComm* comm, RuleExecDeleteInput* input);
int rsRmColl(RsComm* comm, CollInp* input, CollectionOperationStat** stat);

namespace
{
    using zone::Failure;
    using zone::Session;

    constexpr int sys_internal_null_input_err = -24000;

    struct Fault
    {
        int code = 0;
        long left = 0; // calls still to fail; negative: all
    };

    std::map<std::string, Fault>& faults()
    {
        static std::map<std::string, Fault> all = [] {
            std::map<std::string, Fault> parsed;
            const char* text = std::getenv("ZONE_FAIL");
            for (const auto& entry : zone::split(text != nullptr ? text : "", ',')) {
                const auto equals = entry.find('=');
                if (equals == std::string::npos) {
                    continue;
                }
                const auto colon = entry.find(':', equals);
                Fault fault;
                fault.code = std::atoi(entry.c_str() + equals + 1);
                fault.left = colon == std::string::npos ? -1 : std::atol(entry.c_str() + colon + 1);
                parsed[entry.substr(0, equals)] = fault;
            }
            return parsed;
        }();
        return all;
    }

    // Counts the SQL that is run for a plugin while this lives. A call may fire enforcement points whose plugin calls
    // again: the outermost counts for all.
    class Spent
    {
      public:
        explicit Spent(Session& session)
            : session_{session}
            , statements_{session.catalog().database().statements_run()}
            , rows_{session.catalog().database().rows_read()}
            , steps_{session.catalog().database().steps_taken()}
        {
            ++depth();
        }
        ~Spent()
        {
            if (--depth() > 0) {
                return;
            }
            session_.count("statements", session_.catalog().database().statements_run() - statements_);
            session_.count("rows", session_.catalog().database().rows_read() - rows_);
            session_.count("steps", session_.catalog().database().steps_taken() - steps_);
        }
        Spent(const Spent&) = delete;
        Spent& operator=(const Spent&) = delete;

      private:
        Session& session_;
        std::int64_t statements_;
        std::int64_t rows_;
        std::int64_t steps_;

        static int& depth()
        {
            static int calls = 0;
            return calls;
        }
    };

    // On 5.0.2 these calls do not use the agent's connection to the database: each opens one, here or on the provider.
    void count_database_connection(Session& session)
    {
        session.count("database_connections");
    }

    // Runs an exported function's work: counted, made to fail on demand, failures turned into codes.
    template <typename Work>
    int exported(const char* name, RsComm* comm, const Work& work)
    {
        Session* session = zone::current_session();
        if (session == nullptr || comm == nullptr) {
            return SYS_NULL_INPUT;
        }
        session->count(name);
        session->count_call();
        if (session->remote() != nullptr) {
            session->count("forwarded");
        }
        const Spent spent{*session};
        const auto fault = faults().find(name);
        if (fault != faults().end() && fault->second.left != 0) {
            --fault->second.left;
            return fault->second.code;
        }
        try {
            zone::meet(session->server().directory, std::string{"before-"} + name, session->actor().name);
            return work(*session);
        }
        catch (const Failure& failure) {
            session->last_failure = failure.what();
            if (failure.code() != CAT_NO_ROWS_FOUND) {
                zone::log_line("notice", std::string{name} + ": " + failure.what());
            }
            return failure.code();
        }
        catch (const std::exception& e) {
            zone::log_line("error", std::string{name} + ": " + e.what());
            return SYS_LIBRARY_ERROR;
        }
    }

    // What packReiAndArg packs of a rule's context, as far as it matters to a delayed rule here.
    struct PackedContext
    {
        userInfo_t client;
        char instance[MAX_NAME_LEN];
    };

    char* duplicate(const std::string& text)
    {
        return ::strdup(text.c_str());
    }

    std::string text_or_empty(const char* text)
    {
        return text == nullptr ? "" : text;
    }
} // namespace

int rs_genquery2(RsComm* comm, Genquery2Input* input, char** output)
{
    return exported("genquery2", comm, [&](Session& session) {
        if (output == nullptr || input == nullptr) {
            return static_cast<int>(SYS_NULL_INPUT);
        }
        *output = nullptr;
        if (input->column_mappings == 1) {
            zone::Json names = zone::Json::object();
            for (const auto& name : zone::genquery2_columns()) {
                names.set(name, zone::Json::array());
            }
            *output = duplicate(names.dump());
            return 0;
        }
        const std::string query = text_or_empty(input->query_string);
        if (input->sql_only == 1 && session.remote() == nullptr) {
            *output = duplicate(zone::genquery2_to_sql(query, session.actor()).sql);
            return 0;
        }
        count_database_connection(session);
        if (session.remote() != nullptr) {
            const auto answer = session.remote()->call({"genquery2", query});
            if (answer.code >= 0) {
                *output = duplicate(answer.output);
            }
            return answer.code;
        }
        const auto rows = zone::genquery2(session.catalog(), query, session.actor());
        if (!rows.is_utf8()) {
            // The server's JSON library refuses the whole answer for one name that is not UTF-8.
            throw Failure{SYS_LIBRARY_ERROR, "invalid UTF-8 byte in a result"};
        }
        *output = duplicate(rows.dump());
        return 0;
    });
}

int rsGenQuery(rsComm_t* comm, genQueryInp_t* input, genQueryOut_t** output)
{
    return exported("genquery1", comm, [&](Session& session) {
        if (output == nullptr || input == nullptr) {
            return static_cast<int>(SYS_NULL_INPUT);
        }
        zone::genquery1(session, *input, output);
        return 0;
    });
}

int rsModAVUMetadata(RsComm* comm, ModifyAVUMetadataInput* input)
{
    return exported("modavu", comm, [&](Session& session) {
        if (session.remote() != nullptr) {
            std::vector<std::string> words{"meta"};
            if (getValByKey(&input->condInput, ADMIN_KW) != nullptr) {
                words.emplace_back("-M");
            }
            for (const char* argument : {input->arg0, input->arg1, input->arg2, input->arg3, input->arg4, input->arg5,
                                         input->arg6, input->arg7, input->arg8}) {
                words.push_back(text_or_empty(argument));
            }
            return session.remote()->call(words).code;
        }
        zone::modify_metadata_with_static_policy(session, *input);
        return 0;
    });
}

int rsObjStat(rsComm_t* comm, dataObjInp_t* input, rodsObjStat_t** output)
{
    return exported("objstat", comm, [&](Session& session) {
        *output = nullptr;
        zone::Catalog& catalog = session.catalog();
        const std::string path = input->objPath;
        rodsObjStat_t stat;
        std::memset(static_cast<void*>(&stat), 0, sizeof stat);
        std::int64_t id = 0;
        if (const auto data = catalog.find_data(path)) {
            id = *data;
            const auto replica = catalog.replicas(id).front();
            stat.objType = DATA_OBJ_T;
            stat.objSize = replica.size;
            zone::copy_to(stat.chksum, replica.checksum);
            zone::copy_to(stat.ownerName, replica.owner);
            zone::copy_to(stat.ownerZone, replica.owner_zone);
            zone::copy_to(stat.modifyTime, replica.modified);
            zone::copy_to(stat.rescHier, replica.hierarchy);
        }
        else if (const auto collection = catalog.find_collection(path)) {
            id = collection->id;
            stat.objType = COLL_OBJ_T;
            zone::copy_to(stat.ownerName, collection->owner);
            zone::copy_to(stat.ownerZone, collection->owner_zone);
        }
        if (id == 0 || (!session.privileged() && catalog.access(id, session.actor()) < zone::access::read)) {
            throw Failure{USER_FILE_DOES_NOT_EXIST, "no such path [" + path + "]"};
        }
        zone::copy_to(stat.dataId, std::to_string(id));
        *output = static_cast<rodsObjStat_t*>(std::malloc(sizeof stat));
        std::memcpy(static_cast<void*>(*output), &stat, sizeof stat);
        return static_cast<int>(stat.objType);
    });
}

int rsDataObjRepl(rsComm_t* comm, dataObjInp_t* input, transferStat_t** output)
{
    return exported("repl", comm, [&](Session& session) {
        if (output != nullptr) {
            *output = nullptr;
        }
        zone::replicate_without_policy(session, *input);
        return 0;
    });
}

int rsDataObjPhymv(rsComm_t* comm, dataObjInp_t* input, transferStat_t** output)
{
    return exported("phymv", comm, [&](Session& session) {
        if (output != nullptr) {
            *output = nullptr;
        }
        zone::move_replica_without_policy(session, *input);
        return 0;
    });
}

int rsDataObjChksum(rsComm_t* comm, dataObjInp_t* input, char** output)
{
    return exported("chksum", comm, [&](Session& session) {
        *output = duplicate(zone::checksum_without_policy(session, *input));
        return 0;
    });
}

int rsDataObjOpen(rsComm_t* comm, dataObjInp_t* input)
{
    return exported("open", comm, [&](Session& session) {
        const std::string path = input->objPath;
        // Measured on 5.0.2: the file is opened with these flags too, and is there.
        if ((input->openFlags & O_EXCL) != 0 && session.catalog().find_data(path)) {
            throw Failure{UNIX_FILE_OPEN_ERR - EEXIST, "open [" + path + "]: " + std::strerror(EEXIST)};
        }
        const char* resource = getValByKey(&input->condInput, DEST_RESC_NAME_KW);
        return zone::open_without_policy(session, path, input->openFlags & ~O_EXCL, text_or_empty(resource));
    });
}

int rsDataObjRead(rsComm_t* comm, openedDataObjInp_t* input, bytesBuf_t* output)
{
    return exported("read", comm, [&](Session& session) {
        std::string bytes;
        const int got = zone::read_without_policy(session, input->l1descInx, input->len, bytes);
        if (got > 0 && output->buf == nullptr) {
            output->buf = std::malloc(static_cast<std::size_t>(got));
        }
        if (got > 0) {
            std::memcpy(output->buf, bytes.data(), bytes.size());
        }
        output->len = got;
        return got;
    });
}

int rsDataObjWrite(rsComm_t* comm, openedDataObjInp_t* input, bytesBuf_t* bytes)
{
    return exported("write", comm, [&](Session& session) {
        const std::string text(static_cast<const char*>(bytes->buf), static_cast<std::size_t>(bytes->len));
        return zone::write_without_policy(session, input->l1descInx, text);
    });
}

int rsDataObjLseek(rsComm_t* comm, openedDataObjInp_t* input, fileLseekOut_t** output)
{
    return exported("lseek", comm, [&](Session& session) {
        *output = nullptr;
        zone::seek_without_policy(session, input->l1descInx, input->offset, input->whence);
        *output = static_cast<fileLseekOut_t*>(std::malloc(sizeof(fileLseekOut_t)));
        (*output)->offset = input->offset;
        return 0;
    });
}

int rsDataObjClose(rsComm_t* comm, openedDataObjInp_t* input)
{
    return exported("close", comm, [&](Session& session) {
        zone::close_without_policy(session, input->l1descInx);
        return 0;
    });
}

int rsDataObjUnlink(rsComm_t* comm, dataObjInp_t* input)
{
    return exported("unlink", comm, [&](Session& session) {
        const bool force = getValByKey(&input->condInput, FORCE_FLAG_KW) != nullptr;
        const bool admin = getValByKey(&input->condInput, ADMIN_KW) != nullptr;
        zone::unlink_without_policy(session, input->objPath, force, input->oprType == UNREG_OPR, admin);
        return 0;
    });
}

int rsModDataObjMeta(rsComm_t* comm, modDataObjMeta_t* input)
{
    return exported("moddatameta", comm, [&](Session& session) {
        const char* status = getValByKey(input->regParam, REPL_STATUS_KW);
        if (status == nullptr || getValByKey(input->regParam, ADMIN_KW) == nullptr || !session.privileged()) {
            throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "only an administrator changes the status of a replica here"};
        }
        zone::Catalog& catalog = session.catalog();
        const std::string path = input->dataObjInfo->objPath;
        const auto id = catalog.find_data(path);
        if (!id) {
            throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + path + "]"};
        }
        catalog.set_status(*id, input->dataObjInfo->replNum, std::atoi(status));
        return 0;
    });
}

int rsDataObjRename(rsComm_t* comm, dataObjCopyInp_t* input)
{
    return exported("rename", comm, [&](Session& session) {
        zone::rename_without_policy(session, input->srcDataObjInp.objPath, input->destDataObjInp.objPath);
        return 0;
    });
}

int rsCollCreate(rsComm_t* comm, collInp_t* input)
{
    return exported("collcreate", comm, [&](Session& session) {
        const bool parents = getValByKey(&input->condInput, RECURSIVE_OPR__KW) != nullptr;
        zone::make_collection_without_policy(session, input->collName, parents);
        return 0;
    });
}

int rsRmColl(RsComm* comm, CollInp* input, CollectionOperationStat** stat)
{
    return exported("rmcoll", comm, [&](Session& session) {
        if (stat != nullptr) {
            *stat = nullptr;
        }
        const bool recursive = getValByKey(&input->condInput, RECURSIVE_OPR__KW) != nullptr;
        const bool force = getValByKey(&input->condInput, FORCE_FLAG_KW) != nullptr;
        if (session.remote() != nullptr) {
            return session.remote()->call({"rm", recursive ? "-r" : "-R", force ? "-f" : "-F", input->collName}).code;
        }
        return zone::remove_collection_without_policy(session, input->collName, recursive, force, false);
    });
}

int rsModAccessControl(rsComm_t* comm, modAccessControlInp_t* input)
{
    return exported("chmod", comm, [&](Session& session) {
        std::string level = text_or_empty(input->accessLevel);
        const bool admin = zone::starts_with(level, MOD_ADMIN_MODE_PREFIX);
        if (admin) {
            level = level.substr(std::strlen(MOD_ADMIN_MODE_PREFIX));
        }
        const std::string zone_name = text_or_empty(input->zone);
        const std::string user = text_or_empty(input->userName) + (zone_name.empty() ? "" : "#" + zone_name);
        zone::change_access_without_policy(session, level, user, text_or_empty(input->path), input->recursiveFlag != 0, admin);
        return 0;
    });
}

int rsRuleExecSubmit(RsComm* comm, ruleExecSubmitInp_t* input, char** id)
{
    return exported("ruleexecsubmit", comm, [&](Session& session) {
        *id = nullptr;
        const bytesBuf_t* packed = input->packedReiAndArgBBuf;
        if (packed == nullptr || packed->buf == nullptr || packed->len != static_cast<int>(sizeof(PackedContext))) {
            return sys_internal_null_input_err;
        }
        PackedContext context;
        std::memcpy(static_cast<void*>(&context), packed->buf, sizeof context);
        const auto number = zone::forward_or_submit_rule(session, context.client, context.instance, *input);
        *id = duplicate(std::to_string(number));
        return 0;
    });
}

int _delayExec(const char* action, const char* /* recovery */, const char* condition, ruleExecInfo_t* rei)
{
    RsComm* comm = rei != nullptr ? rei->rsComm : nullptr;
    return exported("delayexec", comm, [&](Session& session) {
        if (rei->uoic == nullptr) {
            throw Failure{SYS_NULL_INPUT, "the rule's context has no user"};
        }
        // A copy: the session's client, where it is that, changes meanwhile.
        const userInfo_t client = *rei->uoic;
        zone::queue_rule(session, client, text_or_empty(action), text_or_empty(condition));
        return 0;
    });
}

int rsRuleExecDel(RsComm* comm, RuleExecDeleteInput* input)
{
    return exported("ruleexecdel", comm, [&](Session& session) {
        if (session.remote() != nullptr) {
            return session.remote()->call({"qdel", input->ruleExecId}).code;
        }
        zone::delete_rule_without_policy(session, std::atoll(input->ruleExecId));
        return 0;
    });
}

// Some plugins pack a rule's context themselves before rsRuleExecSubmit.
int packReiAndArg(ruleExecInfo_t* rei, char* /* arguments */[], int /* count */, bytesBuf_t** packed)
{
    if (rei == nullptr || packed == nullptr || rei->uoic == nullptr) {
        return sys_internal_null_input_err;
    }
    auto* context = static_cast<PackedContext*>(std::calloc(1, sizeof(PackedContext)));
    context->client = *rei->uoic;
    zone::copy_to(context->instance, rei->pluginInstanceName);
    *packed = static_cast<bytesBuf_t*>(std::calloc(1, sizeof(bytesBuf_t)));
    (*packed)->buf = context;
    (*packed)->len = sizeof(PackedContext);
    return 0;
}

extern "C" int rs_atomic_apply_metadata_operations(RsComm* comm, const char* json, char** output)
{
    return exported("atomic", comm, [&](Session& session) {
        std::string answer;
        int code = 0;
        count_database_connection(session);
        if (session.remote() != nullptr) {
            const auto remote = session.remote()->call({"atomic", text_or_empty(json)});
            answer = remote.output;
            code = remote.code;
        }
        else {
            code = zone::apply_metadata_operations(session, text_or_empty(json), answer);
        }
        if (output != nullptr) {
            *output = duplicate(answer);
        }
        return code;
    });
}

extern "C" int rs_get_file_descriptor_info(RsComm* comm, const char* json, char** output)
{
    return exported("fdinfo", comm, [&](Session& session) {
        *output = nullptr;
        *output = duplicate(zone::descriptor_info_without_policy(session, text_or_empty(json)));
        return 0;
    });
}

extern "C" int rs_touch(RsComm* comm, const char* json)
{
    return exported("touch", comm, [&](Session& session) {
        zone::touch_without_policy(session, text_or_empty(json));
        return 0;
    });
}
