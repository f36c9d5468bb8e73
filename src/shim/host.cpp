// SPDX-License-Identifier: BSD-3-Clause
// The server calls the core asks for. No policy: what is asked, when, and with which rights is the core's
// decision. The functions may throw: the core gets each as omero_shim::callback makes it.
#include "shim.hpp"

#include <irods/dataObjCopy.h>
#include <irods/dataObjInpOut.h>
#include <irods/fileLseek.h>
#include <irods/genquery2.h>
#include <irods/modDataObjMeta.h>
#include <irods/modAVUMetadata.h>
#include <irods/rcMisc.h>
#include <irods/rodsError.h>
#include <irods/rodsErrorTable.h>
#include <irods/rodsGenQuery.h>
#include <irods/rodsKeyWdDef.h>
#include <irods/rodsLog.h>
#include <irods/rodsUser.h>
#include <irods/rsCollCreate.hpp>
#include <irods/rsDataObjChksum.hpp>
#include <irods/rsDataObjClose.hpp>
#include <irods/rsDataObjLseek.hpp>
#include <irods/rsDataObjOpen.hpp>
#include <irods/rsDataObjRead.hpp>
#include <irods/rsDataObjRename.hpp>
#include <irods/rsDataObjRepl.hpp>
#include <irods/rsDataObjUnlink.hpp>
#include <irods/rsDataObjWrite.hpp>
#include <irods/rsGenQuery.hpp>
#include <irods/rsModAVUMetadata.hpp>
#include <irods/rsModDataObjMeta.hpp>
#include <irods/rsRmColl.hpp>
#include <irods/rs_atomic_apply_metadata_operations.hpp>
#include <irods/rs_genquery2.hpp>
#include <irods/rs_get_file_descriptor_info.hpp>

#include "irods_uninstalled.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{
    using omero_shim::str;

    RsComm* comm(omero_session* session)
    {
        return session ? omero_shim::context(session)->rsComm : nullptr;
    }

    // Raises the session's rights for as long as it lives. On the catalog provider this makes a catalog call
    // one of the local administrator.
    class privilege
    {
      public:
        privilege(RsComm* comm, bool wanted)
            : flag_{wanted ? &comm->clientUser.authInfo.authFlag : nullptr}
            , before_{flag_ ? *flag_ : 0}
        {
            if (flag_) {
                *flag_ = LOCAL_PRIV_USER_AUTH;
            }
        }
        ~privilege()
        {
            if (flag_) {
                *flag_ = before_;
            }
        }
        privilege(const privilege&) = delete;
        privilege& operator=(const privilege&) = delete;

      private:
        int* flag_;
        int before_;
    };

    // Makes the session another account's for as long as it lives. What is written then is nobody's act but that account's: a
    // site's policy sees that account, a job that is queued is owned by it. What a policy says when it refuses is not for
    // the client, whose own operation is in order: it is taken off the error stack again.
    class account
    {
      public:
        account(RsComm* comm, omero_account whose, int rights)
            : comm_{comm}
            , before_{comm->clientUser}
            , messages_{comm->rError.len}
        {
            set(comm->clientUser.userName, whose.name);
            set(comm->clientUser.rodsZone, whose.zone);
            comm->clientUser.authInfo.authFlag = rights;
        }
        ~account()
        {
            comm_->clientUser = before_;
            for (int i = messages_; i < comm_->rError.len; ++i) {
                std::free(comm_->rError.errMsg[i]);
                comm_->rError.errMsg[i] = nullptr;
            }
            if (comm_->rError.len > messages_) {
                comm_->rError.len = messages_;
            }
        }
        account(const account&) = delete;
        account& operator=(const account&) = delete;

      private:
        static void set(char (&to)[NAME_LEN], omero_text from)
        {
            if (from.size >= NAME_LEN) {
                throw std::length_error{"the account's name is too long"};
            }
            std::memset(to, 0, NAME_LEN);
            std::memcpy(to, from.data, from.size);
        }

        RsComm* comm_;
        userInfo_t before_;
        int messages_;
    };

    // What is done as the account that the server runs as.
    class service_account : account
    {
      public:
        service_account(RsComm* comm, omero_account whose)
            : account{comm, whose, LOCAL_PRIV_USER_AUTH}
        {
        }
    };

    // What is done as a user, who has no more rights than the catalog gives.
    class ordinary_user : account
    {
      public:
        ordinary_user(RsComm* comm, omero_account whose)
            : account{comm, whose, LOCAL_USER_AUTH}
        {
        }
    };

    void log_line(omero_level level, omero_text line)
    {
        int of_server = LOG_DEBUG;
        switch (level) {
            case OMERO_LEVEL_ERROR: of_server = LOG_ERROR; break;
            case OMERO_LEVEL_WARN: of_server = LOG_WARNING; break;
            case OMERO_LEVEL_INFO: of_server = LOG_NOTICE; break;
            case OMERO_LEVEL_DEBUG: of_server = LOG_DEBUG; break;
        }
        rodsLog(of_server, "%.*s", static_cast<int>(line.size), line.data);
    }

    // Takes a text the server allocated with malloc.
    int64_t take(int code, char* from_server, omero_buffer* out)
    {
        if (from_server) {
            out->data = from_server;
            out->size = std::strlen(from_server);
        }
        return code;
    }

    int64_t query(omero_session* session, bool privileged, omero_text query, omero_buffer* json)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        auto text = str(query);
        Genquery2Input input{};
        input.query_string = text.data();
        char* answer = nullptr;
        const privilege raised{c, privileged};
        const int code = rs_genquery2(c, &input, &answer);
        return take(code, answer, json);
    }

    // The input of a GenQuery1. Its arrays are malloc'ed, because the server may replace them while it rewrites the
    // query (it does for resource hierarchies).
    class generic_query
    {
      public:
        struct condition
        {
            int column;
            std::string text; // as GenQuery1 takes it: "= '..'"
        };

        generic_query(const std::vector<int>& columns, const std::vector<condition>& conditions)
        {
            input.maxRows = MAX_SQL_ROWS;
            input.selectInp.len = static_cast<int>(columns.size());
            input.selectInp.inx = array<int>(columns.size());
            input.selectInp.value = array<int>(columns.size());
            for (std::size_t i = 0; i < columns.size(); ++i) {
                input.selectInp.inx[i] = columns[i];
                input.selectInp.value[i] = 1;
            }
            input.sqlCondInp.len = static_cast<int>(conditions.size());
            input.sqlCondInp.inx = array<int>(conditions.size());
            input.sqlCondInp.value = array<char*>(conditions.size());
            for (std::size_t i = 0; i < conditions.size(); ++i) {
                input.sqlCondInp.inx[i] = conditions[i].column;
                input.sqlCondInp.value[i] = strdup(conditions[i].text.c_str());
            }
        }
        ~generic_query()
        {
            for (int i = 0; i < input.sqlCondInp.len; ++i) {
                std::free(input.sqlCondInp.value[i]);
            }
            std::free(input.sqlCondInp.value);
            std::free(input.sqlCondInp.inx);
            std::free(input.selectInp.value);
            std::free(input.selectInp.inx);
        }
        generic_query(const generic_query&) = delete;
        generic_query& operator=(const generic_query&) = delete;

        GenQueryInp input{};

      private:
        template <typename T>
        static T* array(std::size_t n)
        {
            auto* room = static_cast<T*>(std::calloc(n ? n : 1, sizeof(T)));
            if (!room) {
                throw std::bad_alloc{};
            }
            return room;
        }
    };

    // Hands the rows of one page to `row`, the columns in the order of `columns` whatever the server made of it.
    bool hand_out(const GenQueryOut& page, const std::vector<int>& columns, omero_row row, void* context)
    {
        std::vector<const SqlResult*> found;
        for (const int column : columns) {
            for (int i = 0; i < page.attriCnt; ++i) {
                if (page.sqlResult[i].attriInx == column) {
                    found.push_back(&page.sqlResult[i]);
                    break;
                }
            }
        }
        std::vector<omero_text> cells(found.size());
        for (int r = 0; r < page.rowCnt; ++r) {
            for (std::size_t i = 0; i < found.size(); ++i) {
                cells[i] = omero_shim::text(found[i]->value + static_cast<std::size_t>(r) * found[i]->len);
            }
            if (!row(context, cells.data(), cells.size())) {
                return false;
            }
        }
        return true;
    }

    // A GenQuery1 over all pages.
    int64_t list(omero_session* session,
                 const int32_t* column_numbers,
                 std::size_t column_count,
                 const omero_condition* condition_texts,
                 std::size_t condition_count,
                 omero_row row,
                 void* context)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        const std::vector<int> columns(column_numbers, column_numbers + column_count);
        std::vector<generic_query::condition> conditions;
        for (std::size_t i = 0; i < condition_count; ++i) {
            conditions.push_back({condition_texts[i].column, str(condition_texts[i].text)});
        }
        generic_query query{columns, conditions};
        bool wanted = true;
        while (true) {
            GenQueryOut* page = nullptr;
            int code = 0;
            {
                const privilege raised{c, true};
                code = rsGenQuery(c, &query.input, &page);
            }
            int next = 0;
            if (code >= 0 && page && wanted) {
                wanted = hand_out(*page, columns, row, context);
                next = page->continueInx;
            }
            if (page) {
                freeGenQueryOut(&page);
            }
            if (code == CAT_NO_ROWS_FOUND) {
                return 0;
            }
            if (code < 0) {
                return code;
            }
            if (next <= 0) {
                return 0;
            }
            query.input.continueInx = next;
            if (!wanted) {
                query.input.maxRows = 0; // one call more, which closes the statement
            }
        }
    }

    int64_t apply_metadata(omero_session* session, omero_account service, omero_text request)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        const auto json = str(request);
        char* answer = nullptr;
        const service_account ours{c, service};
        const int code = rs_atomic_apply_metadata_operations(c, json.c_str(), &answer);
        std::free(answer);
        return code;
    }

    int64_t modify_avu(omero_session* session,
                       omero_account service,
                       omero_text operation,
                       omero_entity entity,
                       omero_text name,
                       omero_text attribute,
                       omero_text value,
                       omero_text units)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        std::array<std::string, 6> words{str(operation), entity == OMERO_ENTITY_COLLECTION ? "-C" : "-d",
                                         str(name), str(attribute), str(value), str(units)};
        modAVUMetadataInp_t input{};
        input.arg0 = words[0].data();
        input.arg1 = words[1].data();
        input.arg2 = words[2].data();
        input.arg3 = words[3].data();
        input.arg4 = words[4].data();
        input.arg5 = words[5].data();
        char none[] = "";
        input.arg6 = input.arg7 = input.arg8 = input.arg9 = none;
        addKeyVal(&input.condInput, ADMIN_KW, "");
        int code = 0;
        {
            const service_account ours{c, service};
            code = rsModAVUMetadata(c, &input);
        }
        clearKeyVal(&input.condInput);
        return code;
    }

    // The input of an operation on a data object; as an administrator's where it is one.
    class object_input
    {
      public:
        explicit object_input(omero_text path, bool as_administrator = true)
        {
            if (path.size >= sizeof input.objPath) {
                throw std::length_error{"the path is too long"};
            }
            std::memcpy(input.objPath, path.data, path.size);
            if (as_administrator) {
                addKeyVal(&input.condInput, ADMIN_KW, "");
            }
        }
        ~object_input()
        {
            clearKeyVal(&input.condInput);
        }
        object_input(const object_input&) = delete;
        object_input& operator=(const object_input&) = delete;

        dataObjInp_t input{};
    };

    int64_t replicate(omero_session* session, omero_text path, omero_text resource)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        const privilege raised{c, true};
        {
            // Without one there is nothing to verify the copy by. One that is registered is not computed again.
            object_input source{path};
            char* checksum = nullptr;
            const int code = rsDataObjChksum(c, &source.input, &checksum);
            std::free(checksum);
            if (code < 0) {
                return code;
            }
        }
        object_input copy{path};
        copy.input.oprType = REPLICATE_OPR;
        addKeyVal(&copy.input.condInput, DEST_RESC_NAME_KW, str(resource).c_str());
        addKeyVal(&copy.input.condInput, VERIFY_CHKSUM_KW, "");
        transferStat_t* statistics = nullptr;
        const int code = rsDataObjRepl(c, &copy.input, &statistics);
        std::free(statistics);
        return code;
    }

    // The input of an operation on a collection.
    class collection_input
    {
      public:
        explicit collection_input(omero_text path)
        {
            if (path.size >= sizeof input.collName) {
                throw std::length_error{"the path is too long"};
            }
            std::memcpy(input.collName, path.data, path.size);
        }
        ~collection_input()
        {
            clearKeyVal(&input.condInput);
        }
        collection_input(const collection_input&) = delete;
        collection_input& operator=(const collection_input&) = delete;

        collInp_t input{};
    };

    int64_t make_collection(omero_session* session, omero_account service, omero_text path, bool parents)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        collection_input made{path};
        if (parents) {
            addKeyVal(&made.input.condInput, RECURSIVE_OPR__KW, "");
        }
        const service_account ours{c, service};
        return rsCollCreate(c, &made.input);
    }

    int64_t remove_collection(omero_session* session, omero_account service, omero_text path)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        collection_input removed{path};
        const service_account ours{c, service};
        return rsRmColl(c, &removed.input, nullptr);
    }

    int64_t make_collection_as(omero_session* session, omero_account user, omero_text path)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        collection_input made{path};
        addKeyVal(&made.input.condInput, RECURSIVE_OPR__KW, "");
        const ordinary_user as{c, user};
        const int code = rsCollCreate(c, &made.input);
        return code == CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME ? 0 : code;
    }

    openedDataObjInp_t opened(int32_t descriptor)
    {
        openedDataObjInp_t input{};
        input.l1descInx = descriptor;
        return input;
    }

    int64_t open_as(omero_session* session,
                    omero_account user,
                    omero_text path,
                    omero_opening how,
                    omero_text resource,
                    uint64_t offset)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        object_input object{path, false};
        object.input.createMode = 0600;
        switch (how) {
            case OMERO_OPENING_READ: object.input.openFlags = O_RDONLY; break;
            case OMERO_OPENING_WRITE: object.input.openFlags = O_WRONLY; break;
            case OMERO_OPENING_CREATE: object.input.openFlags = O_WRONLY | O_CREAT | O_EXCL; break;
        }
        if (resource.size != 0) {
            addKeyVal(&object.input.condInput, DEST_RESC_NAME_KW, str(resource).c_str());
        }
        const ordinary_user as{c, user};
        const int descriptor = rsDataObjOpen(c, &object.input);
        if (descriptor < 0 || offset == 0) {
            return descriptor;
        }
        auto seek = opened(descriptor);
        seek.offset = static_cast<rodsLong_t>(offset);
        seek.whence = SEEK_SET;
        fileLseekOut_t* place = nullptr;
        const int code = rsDataObjLseek(c, &seek, &place);
        std::free(place);
        if (code < 0) {
            auto close = opened(descriptor);
            rsDataObjClose(c, &close);
            return code;
        }
        return descriptor;
    }

    int64_t read_as(omero_session* session, omero_account user, int32_t descriptor, char* into, std::size_t size)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        auto read = opened(descriptor);
        read.len = static_cast<int>(std::min<std::size_t>(size, INT_MAX));
        bytesBuf_t buffer{};
        const ordinary_user as{c, user};
        const int got = rsDataObjRead(c, &read, &buffer);
        if (got > 0) {
            std::memcpy(into, buffer.buf, std::min(static_cast<std::size_t>(got), size));
        }
        std::free(buffer.buf);
        return got;
    }

    int64_t write_as(omero_session* session, omero_account user, int32_t descriptor, omero_text bytes)
    {
        auto* c = comm(session);
        if (!c || bytes.size > INT_MAX) {
            return SYS_INVALID_INPUT_PARAM;
        }
        auto write = opened(descriptor);
        write.len = static_cast<int>(bytes.size);
        bytesBuf_t buffer{};
        buffer.len = write.len;
        buffer.buf = const_cast<char*>(bytes.data); // only read
        const ordinary_user as{c, user};
        return rsDataObjWrite(c, &write, &buffer);
    }

    int64_t close_as(omero_session* session, omero_account user, int32_t descriptor)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        auto close = opened(descriptor);
        const ordinary_user as{c, user};
        return rsDataObjClose(c, &close);
    }

    int64_t rename_as(omero_session* session, omero_account user, omero_text from, omero_text to)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        dataObjCopyInp_t names{};
        if (from.size >= sizeof names.srcDataObjInp.objPath || to.size >= sizeof names.destDataObjInp.objPath) {
            throw std::length_error{"the path is too long"};
        }
        std::memcpy(names.srcDataObjInp.objPath, from.data, from.size);
        std::memcpy(names.destDataObjInp.objPath, to.data, to.size);
        names.srcDataObjInp.oprType = names.destDataObjInp.oprType = RENAME_DATA_OBJ;
        const ordinary_user as{c, user};
        const int code = rsDataObjRename(c, &names);
        clearKeyVal(&names.srcDataObjInp.condInput);
        clearKeyVal(&names.destDataObjInp.condInput);
        return code;
    }

    int64_t remove_as(omero_session* session, omero_account user, omero_text path)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        object_input removed{path, false};
        addKeyVal(&removed.input.condInput, FORCE_FLAG_KW, "");
        const ordinary_user as{c, user};
        return rsDataObjUnlink(c, &removed.input);
    }

    int64_t checksum_as(omero_session* session, omero_account user, omero_text path, omero_buffer* checksum)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        object_input object{path, false};
        addKeyVal(&object.input.condInput, FORCE_CHKSUM_KW, "");
        char* answer = nullptr;
        const ordinary_user as{c, user};
        const int code = rsDataObjChksum(c, &object.input, &answer);
        return take(code, answer, checksum);
    }

    int64_t mark_stale(omero_session* session, omero_account service, omero_text path, int32_t replica)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        dataObjInfo_t info{};
        if (path.size >= sizeof info.objPath) {
            throw std::length_error{"the path is too long"};
        }
        std::memcpy(info.objPath, path.data, path.size);
        info.replNum = replica;
        keyValPair_t changed{};
        addKeyVal(&changed, REPL_STATUS_KW, std::to_string(STALE_REPLICA).c_str());
        addKeyVal(&changed, ADMIN_KW, "");
        modDataObjMeta_t input{&info, &changed};
        int code = 0;
        {
            const service_account ours{c, service};
            code = rsModDataObjMeta(c, &input);
        }
        clearKeyVal(&changed);
        return code;
    }

    int64_t delay(omero_session* session, const omero_account* service, omero_text text, omero_text conditions)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        auto* rei = omero_shim::context(session);
        if (!service) {
            return _delayExec(str(text).c_str(), "", str(conditions).c_str(), rei);
        }
        // The owner of a job is the user the context names, which need not be the session's own record of it.
        const service_account ours{c, *service};
        auto* const before = rei->uoic;
        rei->uoic = &c->clientUser;
        const auto code = _delayExec(str(text).c_str(), "", str(conditions).c_str(), rei);
        rei->uoic = before;
        return code;
    }

    int64_t descriptor(omero_session* session, int32_t descriptor, omero_buffer* json)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        const auto input = "{\"fd\":" + std::to_string(descriptor) + "}";
        char* answer = nullptr;
        const int code = rs_get_file_descriptor_info(c, input.c_str(), &answer);
        return take(code, answer, json);
    }

    int64_t client(omero_session* session, omero_text* name, omero_text* zone, bool* is_admin)
    {
        auto* c = comm(session);
        if (!c) {
            return SYS_INVALID_INPUT_PARAM;
        }
        *name = omero_shim::text(c->clientUser.userName);
        *zone = omero_shim::text(c->clientUser.rodsZone);
        *is_admin = c->clientUser.authInfo.authFlag >= LOCAL_PRIV_USER_AUTH;
        return 0;
    }

    int64_t keyword(const void* condition, omero_text key, omero_text* value)
    {
        if (!condition) {
            return 0;
        }
        const char* found = getValByKey(static_cast<const keyValPair_t*>(condition), str(key).c_str());
        if (!found) {
            return 0;
        }
        *value = omero_shim::text(found);
        return 1;
    }

    void client_message(omero_session* session, int64_t code, omero_text sentence)
    {
        if (auto* c = comm(session)) {
            addRErrorMsg(&c->rError, static_cast<int>(code), str(sentence).c_str());
        }
    }

    void release(omero_buffer* buffer)
    {
        std::free(buffer->data);
        *buffer = {nullptr, 0};
    }
} // namespace

void omero_shim::thrown(const char* what) noexcept
{
    try {
        rodsLog(LOG_ERROR, "omero: act=server_call failed=\"%s\"", what);
    }
    catch (...) {
        // The log itself does not work: there is nobody left to tell.
    }
}

const omero_host& omero_shim::host()
{
    static const omero_host functions{
        callback<log_line>::call,
        callback<query>::call,
        callback<list>::call,
        callback<apply_metadata>::call,
        callback<modify_avu>::call,
        callback<replicate>::call,
        callback<make_collection>::call,
        callback<remove_collection>::call,
        callback<make_collection_as>::call,
        callback<open_as>::call,
        callback<read_as>::call,
        callback<write_as>::call,
        callback<close_as>::call,
        callback<rename_as>::call,
        callback<remove_as>::call,
        callback<checksum_as>::call,
        callback<mark_stale>::call,
        callback<delay>::call,
        callback<descriptor>::call,
        callback<client>::call,
        callback<keyword>::call,
        callback<client_message>::call,
        callback<release>::call,
    };
    return functions;
}
