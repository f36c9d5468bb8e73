// SPDX-License-Identifier: BSD-3-Clause
// Data objects as open descriptors, and the states their replicas go through: what is opened for writing is
// intermediate and its siblings are write-locked until it is closed.

#include "operations.hpp"

#include "json.hpp"
#include "support.hpp"

#include "irods/fileLseek.h"
#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace zone
{
    namespace
    {
        bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

        OpenReplica& open_descriptor(Session& session, int descriptor)
        {
            const auto found = session.descriptors().find(descriptor);
            if (found == session.descriptors().end()) {
                throw Failure{SYS_FILE_DESC_OUT_OF_RANGE, "descriptor " + std::to_string(descriptor) + " is not open"};
            }
            return found->second;
        }

        std::string new_token()
        {
            std::random_device random;
            std::string token;
            for (int i = 0; i < 4; ++i) {
                char part[16];
                std::snprintf(part, sizeof part, "%08x", static_cast<unsigned>(random()));
                token += part;
            }
            return token;
        }

        // Tokens are known to every agent of the zone, as they are in the server's shared memory.
        void remember_token(Catalog& catalog, const OpenReplica& open)
        {
            catalog.database().execute("create table if not exists replica_tokens (data_id integer, repl_num integer, token text,"
                                       " sibling_status text, primary key (data_id, repl_num))");
            std::string siblings;
            for (const auto& [number, status] : open.sibling_status) {
                siblings += std::to_string(number) + "=" + std::to_string(status) + ";";
            }
            catalog.database().execute("insert or replace into replica_tokens values (?, ?, ?, ?)",
                                       {open.replica.data_id, std::int64_t{open.replica.number}, open.token, siblings});
        }

        bool token_is_known(Catalog& catalog, std::int64_t data_id, int number, const std::string& token)
        {
            return catalog.database().integer("select 1 from sqlite_master where name = 'replica_tokens'").has_value() &&
                   catalog.database()
                       .integer("select 1 from replica_tokens where data_id = ? and repl_num = ? and token = ?",
                                {data_id, std::int64_t{number}, token})
                       .has_value();
        }

        void forget_token(Catalog& catalog, const OpenReplica& open)
        {
            if (!open.token.empty()) {
                catalog.database().execute("delete from replica_tokens where data_id = ? and repl_num = ?",
                                           {open.replica.data_id, std::int64_t{open.replica.number}});
            }
        }

        int open_file(const std::string& physical, int flags)
        {
            const int file = ::open(physical.c_str(), (flags & ~(O_EXCL)) | O_CLOEXEC, 0600);
            if (file < 0) {
                throw Failure{UNIX_FILE_OPEN_ERR - errno, "open [" + physical + "]: " + std::strerror(errno)};
            }
            return file;
        }

        int open_existing(Session& session, std::int64_t data_id, const std::string& path, int flags,
                          const std::string& resource, const std::string& token)
        {
            Catalog& catalog = session.catalog();
            const bool writing = writes(flags);
            catalog.require(data_id, session.actor(), writing ? access::modify_object : access::read, CAT_NO_ACCESS_PERMISSION, path);
            const auto replicas = catalog.replicas(data_id);
            OpenReplica open;
            open.flags = flags;
            const Replica* chosen = nullptr;
            if (!resource.empty()) {
                const auto leaf = target_leaf(session, resource);
                for (const auto& replica : replicas) {
                    chosen = replica.resource_id == leaf.id ? &replica : chosen;
                }
            }
            for (const auto& replica : replicas) {
                if (chosen == nullptr && (replica.status == GOOD_REPLICA || !token.empty())) {
                    chosen = &replica;
                }
            }
            if (chosen == nullptr) {
                chosen = &replicas.front();
            }
            const bool joins = !token.empty() && token_is_known(catalog, data_id, chosen->number, token);
            if (!joins) {
                require_unlocked(replicas, path);
            }
            open.replica = *chosen;
            open.size_at_open = chosen->size;
            open.status_at_open = chosen->status;
            open.open_type = writing ? OPEN_FOR_WRITE_TYPE : OPEN_FOR_READ_TYPE;
            open.token = joins ? token : "";
            open.file = open_file(chosen->physical_path, (flags & (O_ACCMODE | O_TRUNC | O_APPEND)));
            if (writing && !joins) {
                Transaction transaction{catalog.database()};
                for (const auto& replica : replicas) {
                    if (replica.number != chosen->number) {
                        open.sibling_status[replica.number] = replica.status;
                    }
                }
                catalog.set_status(data_id, chosen->number, INTERMEDIATE_REPLICA);
                catalog.set_siblings_status(data_id, chosen->number, WRITE_LOCKED);
                transaction.commit();
            }
            return session.add_descriptor(std::move(open));
        }

        int open_new(Session& session, const std::string& path, int flags, const std::string& resource)
        {
            require_valid_path(session, path);
            require_may_create_in(session, parent_of(path));
            const auto leaf = target_leaf(session, resource);
            OpenReplica open;
            open.flags = flags;
            open.replica =
                register_new_data(session, path, leaf, free_vault_path(session, leaf, path, 0), 0, INTERMEDIATE_REPLICA, "generic", true);
            make_directories(parent_of(open.replica.physical_path));
            open.open_type = CREATE_TYPE;
            open.status_at_open = INTERMEDIATE_REPLICA;
            open.file = open_file(open.replica.physical_path, (flags & O_ACCMODE) | O_CREAT | O_TRUNC);
            return session.add_descriptor(std::move(open));
        }

        int open_or_create(Session& session, const std::string& path, int flags, const std::string& resource, const std::string& token)
        {
            const auto existing = session.catalog().find_data(path);
            if (existing) {
                return open_existing(session, *existing, path, flags, resource, token);
            }
            if ((flags & O_CREAT) == 0) {
                if (session.catalog().find_collection(path)) {
                    throw Failure{NOT_A_DATA_OBJECT, "[" + path + "] is a collection"};
                }
                throw Failure{OBJ_PATH_DOES_NOT_EXIST, "no such data object [" + path + "]"};
            }
            return open_new(session, path, flags, resource);
        }

        void close_file(OpenReplica& open)
        {
            if (open.file >= 0) {
                ::close(open.file);
                open.file = -1;
            }
        }

        // Brings the catalog up to what is on disk, as far as asked.
        void finish(Session& session, OpenReplica& open, const ReplicaClose& options)
        {
            close_file(open);
            if (!writes(open.flags)) {
                return;
            }
            Catalog& catalog = session.catalog();
            const auto id = open.replica.data_id;
            const int number = open.replica.number;
            const auto size = file_size(open.replica.physical_path);
            const bool changed = open.open_type == CREATE_TYPE || open.written > 0 || size != open.size_at_open || !open.token.empty();
            if (options.update_size && changed) {
                catalog.finish_replica(id, number, size, INTERMEDIATE_REPLICA, catalog_now());
            }
            if (options.update_status) {
                Transaction transaction{catalog.database()};
                catalog.set_status(id, number, changed ? GOOD_REPLICA : open.status_at_open);
                if (changed) {
                    catalog.set_siblings_status(id, number, STALE_REPLICA);
                }
                else {
                    for (const auto& [sibling, status] : open.sibling_status) {
                        catalog.set_status(id, sibling, status);
                    }
                }
                transaction.commit();
                forget_token(catalog, open);
            }
            if (options.send_notifications && (options.update_size || options.update_status)) {
                const auto leaf = catalog.resource(open.replica.resource_id);
                resource_modified(session, leaf.name);
                if (options.update_status && changed) {
                    replicate_to_siblings(session, id, leaf);
                }
            }
        }

        OpenedDataObjInp opened(int descriptor)
        {
            OpenedDataObjInp input;
            std::memset(static_cast<void*>(&input), 0, sizeof input);
            input.l1descInx = descriptor;
            return input;
        }
    } // namespace

    int open_data(Session& session, const std::string& path, int flags, const std::string& resource)
    {
        DataObjInput input{path};
        input->openFlags = flags;
        input->createMode = 0600;
        if (!resource.empty()) {
            input.with(DEST_RESC_NAME_KW, resource);
        }
        return api(session, "data_obj_open", [&] { return open_without_policy(session, path, flags, resource); }, input.get());
    }

    int open_without_policy(Session& session, const std::string& path, int flags, const std::string& resource)
    {
        return open_or_create(session, path, flags, resource, "");
    }

    int create_data(Session& session, const std::string& path, bool force, const std::string& resource)
    {
        DataObjInput input{path};
        input->openFlags = O_RDWR | O_CREAT;
        input->createMode = 0600;
        if (force) {
            input.with(FORCE_FLAG_KW);
        }
        return api(
            session, "data_obj_create",
            [&] {
                if (!force && session.catalog().find_data(path)) {
                    throw Failure{OVERWRITE_WITHOUT_FORCE_FLAG, "data object [" + path + "] exists"};
                }
                return open_or_create(session, path, O_RDWR | O_CREAT | O_TRUNC, resource, "");
            },
            input.get());
    }

    ReplicaOpen open_replica(Session& session, const std::string& path, int flags, const std::string& resource, const std::string& token)
    {
        DataObjInput input{path};
        input->openFlags = flags;
        input->createMode = 0600;
        if (!resource.empty()) {
            input.with(DEST_RESC_NAME_KW, resource);
        }
        if (!token.empty()) {
            input.with(REPLICA_TOKEN_KW, token);
        }
        BytesBuf* answer = nullptr;
        ReplicaOpen result;
        result.descriptor = api(
            session, "replica_open",
            [&] {
                const int descriptor = open_or_create(session, path, flags, resource, token);
                OpenReplica& open = session.descriptors().at(descriptor);
                open.is_stream = true;
                if (writes(flags) && open.token.empty()) {
                    open.token = new_token();
                    remember_token(session.catalog(), open);
                }
                result.token = open.token;
                return descriptor;
            },
            input.get(), &answer);
        return result;
    }

    int open_further_stream(Session& session, int descriptor)
    {
        OpenReplica& first = open_descriptor(session, descriptor);
        if (first.token.empty()) {
            first.token = new_token();
            remember_token(session.catalog(), first);
        }
        const std::string path = first.replica.path;
        const std::string token = first.token;
        const int flags = O_RDWR;
        DataObjInput input{path};
        input->openFlags = flags;
        input.with(REPLICA_TOKEN_KW, token);
        return api(session, "data_obj_open", [&] { return open_or_create(session, path, flags, "", token); }, input.get());
    }

    int write_data(Session& session, int descriptor, const std::string& bytes)
    {
        auto input = opened(descriptor);
        input.len = static_cast<int>(bytes.size());
        BytesBuf buffer{input.len, const_cast<char*>(bytes.data())};
        return api(
            session, "data_obj_write",
            [&] { return write_without_policy(session, descriptor, bytes); },
            &input, &buffer);
    }

    int write_without_policy(Session& session, int descriptor, const std::string& bytes)
    {
        OpenReplica& open = open_descriptor(session, descriptor);
        if (!writes(open.flags)) {
            throw Failure{BAD_INPUT_DESC_INDEX, "the descriptor is open for reading"};
        }
        const auto written = ::write(open.file, bytes.data(), bytes.size());
        if (written < 0) {
            throw Failure{-513000 - errno, std::strerror(errno)};
        }
        open.written += written;
        return static_cast<int>(written);
    }

    int read_data(Session& session, int descriptor, int length, std::string& bytes)
    {
        auto input = opened(descriptor);
        input.len = length;
        BytesBuf buffer{0, nullptr};
        return api(
            session, "data_obj_read",
            [&] { return read_without_policy(session, descriptor, length, bytes); },
            &input, &buffer);
    }

    int read_without_policy(Session& session, int descriptor, int length, std::string& bytes)
    {
        bytes.resize(static_cast<std::size_t>(length));
        const auto got = ::read(open_descriptor(session, descriptor).file, &bytes[0], bytes.size());
        if (got < 0) {
            throw Failure{-512000 - errno, std::strerror(errno)};
        }
        bytes.resize(static_cast<std::size_t>(got));
        return static_cast<int>(got);
    }

    int seek_data(Session& session, int descriptor, std::int64_t offset, int whence)
    {
        auto input = opened(descriptor);
        input.offset = offset;
        input.whence = whence;
        FileLseekOut* out = nullptr;
        return api(
            session, "data_obj_lseek",
            [&] {
                seek_without_policy(session, descriptor, offset, whence);
                return 0;
            },
            &input, &out);
    }

    void seek_without_policy(Session& session, int descriptor, std::int64_t offset, int whence)
    {
        if (::lseek(open_descriptor(session, descriptor).file, offset, whence) < 0) {
            throw Failure{-518000 - errno, std::strerror(errno)};
        }
    }

    int close_data(Session& session, int descriptor)
    {
        auto input = opened(descriptor);
        return api(
            session, "data_obj_close",
            [&] {
                close_without_policy(session, descriptor);
                return 0;
            },
            &input);
    }

    void close_without_policy(Session& session, int descriptor)
    {
        OpenReplica& open = open_descriptor(session, descriptor);
        finish(session, open, {});
        const bool wrote = writes(open.flags);
        session.descriptors().erase(descriptor);
        if (wrote) {
            static_policy(session, "acPostProcForPut");
        }
    }

    int close_replica(Session& session, int descriptor, const ReplicaClose& options)
    {
        Json request = Json::object({{"fd", descriptor}});
        if (!options.update_size) {
            request.set("update_size", false);
        }
        if (!options.update_status) {
            request.set("update_status", false);
        }
        if (!options.send_notifications) {
            request.set("send_notifications", false);
        }
        std::string text = request.dump();
        // The C library sends the end of the string along.
        BytesBuf buffer{static_cast<int>(text.size()) + 1, &text[0]};
        return api(
            session, "replica_close",
            [&] {
                finish(session, open_descriptor(session, descriptor), options);
                session.descriptors().erase(descriptor);
                return 0;
            },
            &buffer);
    }

    std::string descriptor_info_without_policy(Session& session, const std::string& json)
    {
        int descriptor = -1;
        try {
            const auto request = Json::parse(json);
            const auto* member = request.find("fd");
            descriptor = member != nullptr ? static_cast<int>(member->as_integer()) : -1;
        }
        catch (const std::invalid_argument& e) {
            throw Failure{SYS_INVALID_INPUT_PARAM, e.what()};
        }
        const auto found = session.descriptors().find(descriptor);
        if (found == session.descriptors().end()) {
            throw Failure{SYS_INVALID_INPUT_PARAM, "descriptor " + std::to_string(descriptor) + " is not open"};
        }
        const OpenReplica& open = found->second;
        const Replica& replica = open.replica;
        const auto semicolon = replica.hierarchy.find(';');
        Json input = Json::object({{"object_path", replica.path},
                                   {"create_mode", 0600},
                                   {"open_flags", open.flags},
                                   {"offset", 0},
                                   {"data_size", -1},
                                   {"number_of_threads", 0},
                                   {"operation_type", 0},
                                   {"special_collection", Json{}},
                                   {"condition_input", Json::array()}});
        Json info = Json::object({{"object_path", replica.path},
                                  {"resource_name", replica.hierarchy.substr(0, semicolon)},
                                  {"resource_hierarchy", replica.hierarchy},
                                  {"data_type", replica.type},
                                  {"data_size", replica.size},
                                  {"checksum", replica.checksum},
                                  {"file_path", replica.physical_path},
                                  {"data_owner_name", replica.owner},
                                  {"data_owner_zone", replica.owner_zone},
                                  {"replica_number", replica.number},
                                  {"is_replica_current", false},
                                  {"replica_status", writes(open.flags) ? INTERMEDIATE_REPLICA : replica.status},
                                  {"data_id", replica.data_id},
                                  {"collection_id", replica.coll_id},
                                  {"resource_id", replica.resource_id}});
        const Json answer = Json::object({{"l3descInx", open.file},
                                          {"in_use", true},
                                          {"operation_type", 0},
                                          {"open_type", open.open_type},
                                          {"operation_status", 0},
                                          {"data_object_input", input},
                                          {"data_object_info", info},
                                          {"bytes_written", open.written},
                                          {"data_size", replica.size},
                                          {"replica_status", replica.status},
                                          {"replica_token", open.token}});
        if (!answer.is_utf8()) {
            throw Failure{SYS_INVALID_INPUT_PARAM, "invalid UTF-8 byte in the path"};
        }
        return answer.dump();
    }

    int get_descriptor_info(Session& session, int descriptor, std::string& json)
    {
        std::string request = Json::object({{"fd", descriptor}}).dump();
        BytesBuf buffer{static_cast<int>(request.size()), &request[0]};
        BytesBuf* answer = nullptr;
        return api(
            session, "get_file_descriptor_info",
            [&] {
                json = descriptor_info_without_policy(session, request);
                return 0;
            },
            &buffer, &answer);
    }

    void abandon_descriptors(Session& session)
    {
        for (auto& [number, open] : session.descriptors()) {
            close_file(open);
            if (writes(open.flags)) {
                session.catalog().set_status(open.replica.data_id, open.replica.number, STALE_REPLICA);
                for (const auto& [sibling, status] : open.sibling_status) {
                    session.catalog().set_status(open.replica.data_id, sibling, status);
                }
                forget_token(session.catalog(), open);
            }
        }
        session.descriptors().clear();
    }

    void touch_without_policy(Session& session, const std::string& json)
    {
        Json request;
        try {
            request = Json::parse(json);
        }
        catch (const std::invalid_argument& e) {
            throw Failure{SYS_INVALID_INPUT_PARAM, e.what()};
        }
        const auto* path_member = request.find("logical_path");
        if (path_member == nullptr) {
            throw Failure{SYS_INVALID_INPUT_PARAM, "logical_path is missing"};
        }
        const std::string path = path_member->as_string();
        const Json none = Json::object();
        const Json& options = request.find("options") != nullptr ? *request.find("options") : none;
        const auto* seconds = options.find("seconds_since_epoch");
        const auto* no_create = options.find("no_create");
        const std::string when = seconds != nullptr ? catalog_time(seconds->as_integer()) : catalog_now();
        Catalog& catalog = session.catalog();
        if (const auto collection = catalog.find_collection(path)) {
            catalog.require(collection->id, session.actor(), access::modify_object, CAT_NO_ACCESS_PERMISSION, path);
            catalog.database().execute("update R_COLL_MAIN set modify_ts = ? where coll_id = ?", {when, collection->id});
            return;
        }
        auto id = catalog.find_data(path);
        if (id) {
            catalog.require(*id, session.actor(), access::modify_object, CAT_NO_ACCESS_PERMISSION, path);
        }
        else {
            if (no_create != nullptr && no_create->as_bool()) {
                return;
            }
            const int descriptor = open_new(session, path, O_RDWR | O_CREAT, "");
            OpenReplica& open = session.descriptors().at(descriptor);
            finish(session, open, {});
            id = open.replica.data_id;
            session.descriptors().erase(descriptor);
        }
        const auto replica = catalog.replicas(*id).front();
        modify_replica(session, replica, [&] { catalog.set_modify_time(*id, replica.number, when); });
    }

    int touch(Session& session, const std::string& path, bool no_create, const std::string& seconds_since_epoch)
    {
        Json options = Json::object();
        if (no_create) {
            options.set("no_create", true);
        }
        if (!seconds_since_epoch.empty()) {
            options.set("seconds_since_epoch", static_cast<std::int64_t>(std::stoll(seconds_since_epoch)));
        }
        std::string text = Json::object({{"logical_path", path}, {"options", options}}).dump();
        BytesBuf buffer{static_cast<int>(text.size()), &text[0]};
        return api(
            session, "touch",
            [&] {
                touch_without_policy(session, text);
                return 0;
            },
            &buffer);
    }
} // namespace zone
