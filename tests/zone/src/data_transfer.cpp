// SPDX-License-Identifier: BSD-3-Clause
// Whole files: put, get, copy, bulk put, archives, registration, replication. The order of the policy
// enforcement points inside each call is the one recorded on a 5.0.2 server.

#include "operations.hpp"

#include "json.hpp"
#include "metadata.hpp"
#include "remote.hpp"
#include "support.hpp"

#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace zone
{
    namespace
    {
        constexpr int target_modified = 99999992; // SYS_RSYNC_TARGET_MODIFIED
        constexpr int user_incompatible_params = -402000;
        constexpr int user_null_input_err = -316000;
        constexpr int unix_file_truncate_err = -529000;

        constexpr int offset_index = 999998; // the attriInx of offsets in a bulk put

        // The replica a write to an existing object goes to, and its siblings as they were.
        const Replica& writable_replica(Session& session, const std::vector<Replica>& replicas, const std::string& resource)
        {
            if (!resource.empty()) {
                const auto leaf = target_leaf(session, resource);
                for (const auto& replica : replicas) {
                    if (replica.resource_id == leaf.id) {
                        return replica;
                    }
                }
            }
            for (const auto& replica : replicas) {
                if (replica.status == GOOD_REPLICA) {
                    return replica;
                }
            }
            return replicas.front();
        }

        // Writes a local file over an existing object.
        void overwrite(Session& session, const std::string& local, std::int64_t data_id, const std::string& path, const std::string& resource)
        {
            Catalog& catalog = session.catalog();
            catalog.require(data_id, session.actor(), access::modify_object, CAT_NO_ACCESS_PERMISSION, path);
            const auto replicas = catalog.replicas(data_id);
            require_unlocked(replicas, path);
            const Replica& target = writable_replica(session, replicas, resource);
            catalog.set_status(data_id, target.number, INTERMEDIATE_REPLICA);
            catalog.set_siblings_status(data_id, target.number, WRITE_LOCKED);
            copy_file(local, target.physical_path);
            catalog.finish_replica(data_id, target.number, file_size(target.physical_path), GOOD_REPLICA, catalog_now());
            catalog.set_siblings_status(data_id, target.number, STALE_REPLICA);
        }

        // A new object: registered as being written, written, then made good.
        Replica create_from(Session& session, const std::string& local, const std::string& path, const std::string& resource,
                            const std::string& type, bool touch_parent)
        {
            require_may_create_in(session, parent_of(path));
            const auto leaf = target_leaf(session, resource);
            const std::string physical = free_vault_path(session, leaf, path, 0);
            auto replica = register_new_data(session, path, leaf, physical, 0, INTERMEDIATE_REPLICA, type, touch_parent);
            try {
                make_directories(parent_of(physical));
                copy_file(local, physical);
            }
            catch (const Failure&) {
                session.catalog().set_status(replica.data_id, replica.number, STALE_REPLICA);
                throw;
            }
            return replica;
        }

        void make_good(Session& session, const Replica& replica)
        {
            session.catalog().finish_replica(replica.data_id, replica.number, file_size(replica.physical_path), GOOD_REPLICA,
                                             catalog_now());
        }

        std::string leaf_name(Session& session, const Replica& replica)
        {
            return session.catalog().resource(replica.resource_id).name;
        }

        int put_without_policy(Session& session, const std::string& local, const std::string& path, const PutOptions& options,
                               bool parallel)
        {
            Catalog& catalog = session.catalog();
            require_valid_path(session, path);
            if (catalog.find_collection(path)) {
                throw Failure{CAT_NAME_EXISTS_AS_COLLECTION, "[" + path + "] is a collection"};
            }
            const auto existing = catalog.find_data(path);
            if (existing && !options.force) {
                throw Failure{OVERWRITE_WITHOUT_FORCE_FLAG, "data object [" + path + "] exists"};
            }
            std::int64_t data_id = 0;
            Replica replica;
            if (existing) {
                data_id = *existing;
                overwrite(session, local, data_id, path, options.resource);
                replica = writable_replica(session, catalog.replicas(data_id), options.resource);
            }
            else {
                replica = create_from(session, local, path, options.resource, options.type, true);
                data_id = replica.data_id;
            }
            const auto leaf = catalog.resource(replica.resource_id);
            if (parallel) {
                // The client says it has sent everything; that call ends in _except although all is well.
                int descriptor = 3;
                with_policy(
                    session, "api_instance", "api_opr_complete", [&] { return Arguments{boost::any(&descriptor)}; },
                    [&] {
                        make_good(session, replica);
                        resource_modified(session, leaf.name);
                        return Outcome{0, false};
                    });
            }
            else {
                make_good(session, replica);
                resource_modified(session, leaf.name);
                touch_collection(session, parent_of(path));
            }
            replicate_to_siblings(session, data_id, leaf);
            add_metadata_along(session, data_id, options.metadata);
            static_policy(session, "acPostProcForPut");
            return parallel ? SYS_NO_HANDLER_REPLY_MSG : 0;
        }
    } // namespace

    void add_metadata_along(Session& session, std::int64_t data_id, const std::string& text)
    {
        if (text.empty()) {
            return;
        }
        // A backslash takes away the meaning of the character after it, whatever that is.
        std::vector<std::string> parts(1);
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] == ';') {
                parts.emplace_back();
            }
            else if (text[i] != '\\') {
                parts.back() += text[i];
            }
            else if (++i < text.size()) {
                parts.back() += text[i];
            }
        }
        if (parts.back().empty()) {
            parts.pop_back();
        }
        Json operations = Json::array();
        for (std::size_t i = 0; i + 1 < parts.size(); i += 3) {
            operations.push(Json::object({{"operation", "add"},
                                          {"attribute", parts[i]},
                                          {"value", parts[i + 1]},
                                          {"units", i + 2 < parts.size() ? parts[i + 2] : ""}}));
        }
        const auto replica = session.catalog().replicas(data_id).front();
        std::string output;
        const int code = apply_metadata_operations(
            session,
            Json::object({{"entity_name", replica.path}, {"entity_type", "data_object"}, {"operations", operations}}).dump(),
            output);
        if (code < 0) {
            throw Failure{code, output};
        }
    }

    int put(Session& session, const std::string& local, const std::string& path, const PutOptions& options)
    {
        const auto size = file_size(local);
        if (size < 0) {
            throw Failure{USER_FILE_DOES_NOT_EXIST, "no such file [" + local + "]"};
        }
        const bool parallel = options.parallel || size > options.single_buffer_limit;
        DataObjInput input{path};
        input->createMode = 0600;
        input->openFlags = O_RDWR | O_CREAT;
        input->dataSize = size;
        input->oprType = PUT_OPR;
        input->numThreads = parallel ? 4 : 0;
        input.with(DATA_TYPE_KW, options.type.empty() ? "generic" : options.type);
        if (options.force) {
            input.with(FORCE_FLAG_KW);
        }
        if (!options.resource.empty()) {
            input.with(DEST_RESC_NAME_KW, options.resource);
        }
        if (!options.metadata.empty()) {
            input.with(METADATA_INCLUDED_KW, options.metadata);
        }
        std::string bytes;
        if (!parallel) {
            input.with(DATA_INCLUDED_KW);
            bytes = read_file(local);
        }
        BytesBuf buffer{static_cast<int>(bytes.size()), bytes.empty() ? nullptr : &bytes[0]};
        portalOprOut* portal = nullptr;
        const int code = api(
            session, "data_obj_put", [&] { return put_without_policy(session, local, path, options, parallel); },
            input.get(), &buffer, &portal);
        return code == SYS_NO_HANDLER_REPLY_MSG ? 0 : code;
    }

    int get(Session& session, const std::string& path, const std::string& local)
    {
        DataObjInput input{path};
        input->oprType = GET_OPR;
        portalOprOut* portal = nullptr;
        BytesBuf buffer{0, nullptr};
        return api(
            session, "data_obj_get",
            [&] {
                Catalog& catalog = session.catalog();
                const auto id = catalog.find_data(path);
                if (!id) {
                    throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + path + "]"};
                }
                catalog.require(*id, session.actor(), access::read, CAT_NO_ACCESS_PERMISSION, path);
                for (const auto& replica : catalog.replicas(*id)) {
                    if (replica.status == GOOD_REPLICA) {
                        copy_file(replica.physical_path, local);
                        return 0;
                    }
                }
                throw Failure{INTERMEDIATE_REPLICA_ACCESS, "[" + path + "] has no good replica"};
            },
            input.get(), &portal, &buffer);
    }

    void copy_without_policy(Session& session, const std::string& from, const std::string& to, bool force,
                             const std::string& resource)
    {
        Catalog& catalog = session.catalog();
        require_valid_path(session, to);
        if (from == to) {
            throw Failure{SAME_SRC_DEST_PATHS_ERR, "source and target are the same"};
        }
        const auto source_id = catalog.find_data(from);
        if (!source_id) {
            throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + from + "]"};
        }
        catalog.require(*source_id, session.actor(), access::read, CAT_NO_ACCESS_PERMISSION, from);
        const auto source = writable_replica(session, catalog.replicas(*source_id), "");
        const auto existing = catalog.find_data(to);
        if (existing && !force) {
            throw Failure{OVERWRITE_WITHOUT_FORCE_FLAG, "data object [" + to + "] exists"};
        }
        std::int64_t target_id = 0;
        Replica target;
        if (existing) {
            target_id = *existing;
            overwrite(session, source.physical_path, target_id, to, resource);
            target = writable_replica(session, catalog.replicas(target_id), resource);
        }
        else {
            target = create_from(session, source.physical_path, to, resource, source.type, true);
            target_id = target.data_id;
            make_good(session, target);
        }
        resource_modified(session, leaf_name(session, target));
        replicate_to_siblings(session, target_id, catalog.resource(target.resource_id));
        static_policy(session, "acPostProcForCopy");
    }

    int copy(Session& session, const std::string& from, const std::string& to, bool force, const std::string& resource)
    {
        auto input = std::make_unique<DataObjCopyInp>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(DataObjCopyInp));
        copy_to(input->srcDataObjInp.objPath, from);
        copy_to(input->destDataObjInp.objPath, to);
        input->srcDataObjInp.oprType = COPY_SRC;
        input->destDataObjInp.oprType = COPY_DEST;
        if (!metadata_along().empty()) {
            addKeyVal(&input->srcDataObjInp.condInput, METADATA_INCLUDED_KW, metadata_along().c_str());
        }
        if (force) {
            addKeyVal(&input->destDataObjInp.condInput, FORCE_FLAG_KW, "");
        }
        if (!resource.empty()) {
            addKeyVal(&input->destDataObjInp.condInput, DEST_RESC_NAME_KW, resource.c_str());
        }
        TransferStat* stat = nullptr;
        const int code = api(
            session, "data_obj_copy",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"cp", from, to, force ? "-f" : "-F"}).code;
                }
                copy_without_policy(session, from, to, force, resource);
                return 0;
            },
            input.get(), &stat);
        clearKeyVal(&input->srcDataObjInp.condInput);
        clearKeyVal(&input->destDataObjInp.condInput);
        return code;
    }

    int synchronise(Session& session, const std::string& from, const std::string& to)
    {
        DataObjInput input{from};
        input.with(RSYNC_MODE_KW, "IRODS_TO_IRODS").with(RSYNC_DEST_PATH_KW, to).with(FORCE_FLAG_KW);
        MsParamArray* out = nullptr;
        return api(
            session, "data_obj_rsync",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"rsync", from, to}).code;
                }
                DataObjInput source{from};
                DataObjInput target{to};
                const std::string sum = checksum_without_policy(session, *source.get());
                if (session.catalog().find_data(to) && checksum_without_policy(session, *target.get()) == sum) {
                    return 0;
                }
                copy_without_policy(session, from, to, true, "");
                return target_modified;
            },
            input.get(), &out);
    }

    int bulk_put(Session& session, const std::string& collection, const std::vector<BulkFile>& files)
    {
        auto input = std::make_unique<bulkOprInp_t>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(bulkOprInp_t));
        copy_to(input->objPath, collection);
        addKeyVal(&input->condInput, DATA_TYPE_KW, "generic");
        genQueryOut_t& table = input->attriArray;
        table.rowCnt = static_cast<int>(files.size());
        table.attriCnt = 3;
        table.continueInx = -1;
        const auto column = [&](int index, int attribute, int width) {
            auto cells = std::vector<char>(static_cast<std::size_t>(width) * files.size());
            table.sqlResult[index] = {attribute, width, cells.data()};
            return cells;
        };
        constexpr int width = MAX_NAME_LEN;
        auto names = column(0, COL_DATA_NAME, width);
        auto modes = column(1, 421, NAME_LEN);
        auto offsets = column(2, offset_index, NAME_LEN);
        table.sqlResult[0].value = names.data();
        table.sqlResult[1].value = modes.data();
        table.sqlResult[2].value = offsets.data();
        std::string bytes;
        for (std::size_t i = 0; i < files.size(); ++i) {
            bytes += read_file(files[i].local);
            std::snprintf(&names[i * width], width, "%s", files[i].path.c_str());
            std::snprintf(&modes[i * NAME_LEN], NAME_LEN, "%d", 33188);
            std::snprintf(&offsets[i * NAME_LEN], NAME_LEN, "%zu", bytes.size());
        }
        BytesBuf buffer{static_cast<int>(bytes.size()), bytes.empty() ? nullptr : &bytes[0]};
        const int code = api(
            session, "bulk_data_obj_put",
            [&] {
                for (const auto& file : files) {
                    require_valid_path(session, file.path);
                    if (session.catalog().find_data(file.path)) {
                        throw Failure{OVERWRITE_WITHOUT_FORCE_FLAG, "data object [" + file.path + "] exists"};
                    }
                    const auto replica = create_from(session, file.local, file.path, "", "generic", true);
                    make_good(session, replica);
                    resource_modified(session, leaf_name(session, replica));
                    touch_collection(session, parent_of(file.path));
                }
                return 0;
            },
            input.get(), &buffer);
        clearKeyVal(&input->condInput);
        return code;
    }

    // ---- archives --------------------------------------------------------------------------------------------

    namespace
    {
        struct TarEntry
        {
            std::string name;
            bool is_directory = false;
            std::size_t offset = 0;
            std::size_t size = 0;
        };

        std::string tar_field(const std::string& archive, std::size_t at, std::size_t length)
        {
            const std::string field = archive.substr(at, length);
            return field.substr(0, field.find('\0'));
        }

        // ustar, with GNU long names; what tar makes of ordinary files.
        std::vector<TarEntry> read_tar(const std::string& archive)
        {
            constexpr std::size_t block = 512;
            std::vector<TarEntry> entries;
            std::string long_name;
            for (std::size_t at = 0; at + block <= archive.size();) {
                if (archive[at] == '\0') {
                    break;
                }
                TarEntry entry;
                entry.name = tar_field(archive, at, 100);
                const std::string prefix = tar_field(archive, at + 345, 155);
                if (archive.compare(at + 257, 5, "ustar") == 0 && archive[at + 263] == '0' && !prefix.empty()) {
                    entry.name = prefix + "/" + entry.name;
                }
                entry.size = std::strtoul(tar_field(archive, at + 124, 12).c_str(), nullptr, 8);
                const char kind = archive[at + 156];
                entry.offset = at + block;
                at += block + (entry.size + block - 1) / block * block;
                if (kind == 'L') {
                    long_name = tar_field(archive, entry.offset, entry.size);
                    continue;
                }
                if (!long_name.empty()) {
                    entry.name = long_name;
                    long_name.clear();
                }
                entry.is_directory = kind == '5';
                while (starts_with(entry.name, "./")) {
                    entry.name = entry.name.substr(2);
                }
                while (!entry.name.empty() && entry.name.back() == '/') {
                    entry.name.pop_back();
                }
                const bool is_file = kind == '0' || kind == '\0';
                if (!entry.name.empty() && entry.name != "." && (is_file || entry.is_directory)) {
                    entries.push_back(entry);
                }
            }
            return entries;
        }

        // Registers a collection and what is missing above it.
        void require_collection(Session& session, const std::string& path)
        {
            if (session.catalog().find_collection(path)) {
                return;
            }
            require_collection(session, parent_of(path));
            require_may_create_in(session, parent_of(path));
            register_new_collection(session, path, session.client_user());
        }
    } // namespace

    int extract(Session& session, const std::string& archive, const std::string& collection, bool force)
    {
        auto input = std::make_unique<StructFileExtAndRegInp>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(StructFileExtAndRegInp));
        copy_to(input->objPath, archive);
        copy_to(input->collection, collection);
        addKeyVal(&input->condInput, DATA_TYPE_KW, "tar file");
        if (force) {
            addKeyVal(&input->condInput, FORCE_FLAG_KW, "");
        }
        const int code = api(
            session, "struct_file_ext_and_reg",
            [&] {
                Catalog& catalog = session.catalog();
                require_valid_path(session, collection);
                const auto id = catalog.find_data(archive);
                if (!id) {
                    throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + archive + "]"};
                }
                catalog.require(*id, session.actor(), access::read, CAT_NO_ACCESS_PERMISSION, archive);
                const std::string bytes = read_file(catalog.replicas(*id).front().physical_path);
                require_collection(session, collection);
                for (const auto& entry : read_tar(bytes)) {
                    const std::string path = join(collection, entry.name);
                    require_collection(session, entry.is_directory ? path : parent_of(path));
                    if (entry.is_directory) {
                        continue;
                    }
                    const auto leaf = target_leaf(session, "");
                    const std::string physical = free_vault_path(session, leaf, path, 0);
                    make_directories(parent_of(physical));
                    write_file(physical, std::string_view{bytes}.substr(entry.offset, entry.size));
                    if (const auto existing = catalog.find_data(path)) {
                        if (!force) {
                            throw Failure{OVERWRITE_WITHOUT_FORCE_FLAG, "data object [" + path + "] exists"};
                        }
                        catalog.finish_replica(*existing, 0, static_cast<std::int64_t>(entry.size), GOOD_REPLICA, catalog_now());
                    }
                    else {
                        register_new_data(session, path, leaf, physical, static_cast<std::int64_t>(entry.size), GOOD_REPLICA,
                                          "generic", false);
                    }
                    resource_modified(session, leaf.name);
                }
                return 0;
            },
            input.get());
        clearKeyVal(&input->condInput);
        return code;
    }

    // ---- registration ----------------------------------------------------------------------------------------

    namespace
    {
        void register_tree(Session& session, const std::string& physical, const std::string& path, const Resource& leaf,
                           const std::string& type)
        {
            if (!session.catalog().find_collection(path)) {
                register_new_collection(session, path, session.client_user());
            }
            for (const auto& entry : list_directory(physical)) {
                const std::string below = join(physical, entry.name);
                if (entry.is_directory) {
                    register_tree(session, below, join(path, entry.name), leaf, type);
                }
                else if (!session.catalog().find_data(join(path, entry.name))) {
                    register_new_data(session, join(path, entry.name), leaf, below, file_size(below), GOOD_REPLICA, type, false);
                }
            }
        }
    } // namespace

    int register_path(Session& session, const std::string& physical, const std::string& path, const RegisterOptions& options)
    {
        DataObjInput input{path};
        input.with(FILE_PATH_KW, physical);
        input.with(DATA_TYPE_KW, options.type.empty() ? "generic" : options.type);
        if (!options.resource.empty()) {
            input.with(DEST_RESC_NAME_KW, options.resource);
        }
        if (options.recursive) {
            input.with(COLLECTION_KW);
        }
        if (options.replica) {
            input.with(REG_REPL_KW);
        }
        if (options.force) {
            input.with(FORCE_FLAG_KW);
        }
        return api(
            session, "phy_path_reg",
            [&] {
                Catalog& catalog = session.catalog();
                require_valid_path(session, path);
                if (!session.privileged()) {
                    throw Failure{PATH_REG_NOT_ALLOWED, "[" + session.actor().name + "] may not register paths"};
                }
                if (!file_exists(physical)) {
                    throw Failure{UNIX_FILE_STAT_ERR - 2, "no such path [" + physical + "]"};
                }
                const auto leaf = target_leaf(session, options.resource);
                if (options.recursive) {
                    require_may_create_in(session, parent_of(path));
                    register_tree(session, physical, path, leaf, options.type);
                }
                else if (options.replica) {
                    const auto id = catalog.find_data(path);
                    if (!id) {
                        throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + path + "]"};
                    }
                    for (const auto& replica : catalog.replicas(*id)) {
                        if (replica.resource_id == leaf.id) {
                            throw Failure{SYS_COPY_ALREADY_IN_RESC, "a replica is there already"};
                        }
                    }
                    register_new_replica(session, catalog.replicas(*id).front(), leaf, physical, file_size(physical), GOOD_REPLICA);
                }
                else {
                    require_may_create_in(session, parent_of(path));
                    register_new_data(session, path, leaf, physical, file_size(physical), GOOD_REPLICA, options.type, false);
                }
                static_policy(session, "acPostProcForFilePathReg");
                return 0;
            },
            input.get());
    }

    // ---- replicas --------------------------------------------------------------------------------------------

    namespace
    {
        std::int64_t data_for(Session& session, const DataObjInp& input, int level)
        {
            const std::string path{input.objPath};
            const auto id = session.catalog().find_data(path);
            if (!id) {
                throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + path + "]"};
            }
            const bool admin = getValByKey(&input.condInput, ADMIN_KW) != nullptr;
            if (admin && !session.privileged()) {
                throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "[irodsAdmin] is for rodsadmins"};
            }
            if (!admin) {
                session.catalog().require(*id, session.actor(), level, CAT_NO_ACCESS_PERMISSION, path);
            }
            return *id;
        }

        constexpr int cat_no_checksum_for_replica = -862000;

        std::string keyword(const DataObjInp& input, const char* name)
        {
            const char* value = getValByKey(&input.condInput, name);
            return value == nullptr ? "" : value;
        }

        const Replica* find_on(const std::vector<Replica>& replicas, const Resource& leaf)
        {
            for (const auto& replica : replicas) {
                if (replica.resource_id == leaf.id) {
                    return &replica;
                }
            }
            return nullptr;
        }
    } // namespace

    void replicate_without_policy(Session& session, DataObjInp& input)
    {
        Catalog& catalog = session.catalog();
        const auto id = data_for(session, input, access::modify_object);
        const auto replicas = catalog.replicas(id);
        require_unlocked(replicas, input.objPath);
        const auto leaf = target_leaf(session, keyword(input, DEST_RESC_NAME_KW));
        const Replica source = writable_replica(session, replicas, "");
        const Replica* existing = find_on(replicas, leaf);
        if (existing != nullptr && existing->status == GOOD_REPLICA) {
            resource_modified(session, leaf.name); // nothing is copied, and that is no error
            return;
        }
        if (source.checksum.empty() && getValByKey(&input.condInput, VERIFY_CHKSUM_KW) != nullptr) {
            throw Failure{cat_no_checksum_for_replica, "the source has no checksum to verify by"};
        }
        const std::string physical = existing != nullptr ? existing->physical_path : free_vault_path(session, leaf, input.objPath, source.number + 1);
        const int number = existing != nullptr
                               ? existing->number
                               : register_new_replica(session, source, leaf, physical, 0, INTERMEDIATE_REPLICA).number;
        make_directories(parent_of(physical));
        copy_file(source.physical_path, physical);
        catalog.finish_replica(id, number, file_size(physical), GOOD_REPLICA, catalog_now());
        if (!source.checksum.empty()) {
            catalog.set_checksum(id, number, source.checksum);
        }
        resource_modified(session, leaf.name);
    }

    int replicate(Session& session, const std::string& path, const std::string& resource, bool update, bool admin)
    {
        DataObjInput input{path};
        input->oprType = REPLICATE_OPR;
        if (!resource.empty()) {
            input.with(DEST_RESC_NAME_KW, resource);
        }
        if (update) {
            input.with(UPDATE_REPL_KW);
        }
        if (admin) {
            input.with(ADMIN_KW);
        }
        TransferStat* stat = nullptr;
        return api(
            session, "data_obj_repl",
            [&] {
                replicate_without_policy(session, *input.get());
                return 0;
            },
            input.get(), &stat);
    }

    void move_replica_without_policy(Session& session, DataObjInp& input)
    {
        Catalog& catalog = session.catalog();
        const auto id = data_for(session, input, access::modify_object);
        const auto replicas = catalog.replicas(id);
        require_unlocked(replicas, input.objPath);
        const auto leaf = target_leaf(session, keyword(input, DEST_RESC_NAME_KW));
        const std::string from = keyword(input, RESC_NAME_KW);
        if (from.empty()) {
            throw Failure{user_null_input_err, "a source is needed"};
        }
        const Replica* source = find_on(replicas, target_leaf(session, from));
        if (source == nullptr) {
            throw Failure{SYS_REPLICA_DOES_NOT_EXIST, "no replica on [" + from + "]"};
        }
        if (find_on(replicas, leaf) != nullptr) {
            throw Failure{SYS_COPY_ALREADY_IN_RESC, "a replica is there already"};
        }
        const std::string physical = free_vault_path(session, leaf, input.objPath, source->number);
        make_directories(parent_of(physical));
        const auto target = register_new_replica(session, *source, leaf, physical, 0, INTERMEDIATE_REPLICA);
        copy_file(source->physical_path, physical);
        unregister_replica(session, *source);
        remove_file(source->physical_path);
        catalog.finish_replica(id, target.number, file_size(physical), source->status, source->modified);
        // The moved replica keeps its number.
        catalog.database().execute("update R_DATA_MAIN set data_repl_num = ? where data_id = ? and data_repl_num = ?",
                                   {std::int64_t{source->number}, id, std::int64_t{target.number}});
        resource_modified(session, leaf.name);
    }

    int move_replica(Session& session, const std::string& path, const std::string& from, const std::string& to, bool admin)
    {
        DataObjInput input{path};
        input->oprType = PHYMV_OPR;
        if (!from.empty()) {
            input.with(RESC_NAME_KW, from);
        }
        input.with(DEST_RESC_NAME_KW, to);
        if (admin) {
            input.with(ADMIN_KW);
        }
        TransferStat* stat = nullptr;
        return api(
            session, "data_obj_phymv",
            [&] {
                move_replica_without_policy(session, *input.get());
                return 0;
            },
            input.get(), &stat);
    }

    namespace
    {
        // Which replicas a trim removes: the one of the number, or stale ones and then good ones until `keep` are left. The
        // last good replica stays, whatever is asked.
        std::vector<Replica> replicas_to_trim(const std::vector<Replica>& replicas, const TrimOptions& options)
        {
            if (static_cast<int>(replicas.size()) <= options.keep) {
                return {};
            }
            int good = 0;
            for (const auto& replica : replicas) {
                good += replica.status == GOOD_REPLICA ? 1 : 0;
            }
            if (!options.replica.empty()) {
                for (const auto& replica : replicas) {
                    if (std::to_string(replica.number) != options.replica) {
                        continue;
                    }
                    if (good <= 1 && replica.status == GOOD_REPLICA) {
                        throw Failure{user_incompatible_params, "cannot remove the last good replica"};
                    }
                    return {replica};
                }
                throw Failure{SYS_REPLICA_DOES_NOT_EXIST, "no replica " + options.replica};
            }
            std::vector<Replica> chosen;
            for (const int status : {STALE_REPLICA, GOOD_REPLICA}) {
                for (const auto& replica : replicas) {
                    const auto left = static_cast<int>(replicas.size() - chosen.size());
                    const bool last_good = status == GOOD_REPLICA && good <= 1;
                    const std::string root = replica.hierarchy.substr(0, replica.hierarchy.find(';'));
                    if (left <= options.keep || last_good || replica.status != status ||
                        (!options.resource.empty() && options.resource != root)) {
                        continue;
                    }
                    chosen.push_back(replica);
                    good -= status == GOOD_REPLICA ? 1 : 0;
                }
            }
            return chosen;
        }
    } // namespace

    int trim(Session& session, const std::string& path, const TrimOptions& options)
    {
        DataObjInput input{path};
        if (!options.replica.empty()) {
            input.with(REPL_NUM_KW, options.replica);
        }
        if (!options.resource.empty()) {
            input.with(RESC_NAME_KW, options.resource);
        }
        input.with(COPIES_KW, std::to_string(options.keep));
        if (options.admin) {
            input.with(ADMIN_KW);
        }
        return api(
            session, "data_obj_trim",
            [&] {
                if (!options.replica.empty() && !options.resource.empty()) {
                    throw Failure{user_incompatible_params, "a replica's number or a resource, not both"};
                }
                const auto id = data_for(session, *input.get(), access::delete_object);
                const auto replicas = session.catalog().replicas(id);
                require_unlocked(replicas, path);
                int trimmed = 0; // 1 once something is, as the server answers it
                for (const auto& replica : replicas_to_trim(replicas, options)) {
                    unregister_replica(session, replica);
                    // After the catalog has forgotten it. What is registered where it lies stays there.
                    if (is_in_vault(session.catalog().resource(replica.resource_id), replica.physical_path)) {
                        remove_file(replica.physical_path);
                    }
                    trimmed = 1;
                }
                return trimmed;
            },
            input.get());
    }

    int truncate(Session& session, const std::string& path, std::int64_t size, const std::string& replica_number, bool admin)
    {
        DataObjInput input{path};
        input->dataSize = size;
        if (!replica_number.empty()) {
            input.with(REPL_NUM_KW, replica_number);
        }
        if (admin) {
            input.with(ADMIN_KW);
        }
        char* out = nullptr;
        return api(
            session, "replica_truncate",
            [&] {
                Catalog& catalog = session.catalog();
                const auto id = data_for(session, *input.get(), access::modify_object);
                const auto replicas = catalog.replicas(id);
                require_unlocked(replicas, path);
                const Replica* target = &writable_replica(session, replicas, "");
                for (const auto& replica : replicas) {
                    target = std::to_string(replica.number) == replica_number ? &replica : target;
                }
                if (target->size == size) {
                    return 0;
                }
                if (::truncate(target->physical_path.c_str(), static_cast<off_t>(size)) != 0) {
                    throw Failure{unix_file_truncate_err - errno, "cannot truncate [" + target->physical_path + "]"};
                }
                // In place: the other replicas become stale.
                modify_replica(session, *target, [&] {
                    catalog.finish_replica(id, target->number, size, GOOD_REPLICA, catalog_now());
                    catalog.set_siblings_status(id, target->number, STALE_REPLICA);
                });
                resource_modified(session, leaf_name(session, *target));
                return 0;
            },
            input.get(), &out);
    }

    // What the storage tiering capability does for one data object, in a session of the service account: a replica on the
    // other tier, then the one on this tier trimmed.
    int tier(Session& session, const std::string& path, const std::string& from, const std::string& to)
    {
        const int replicated = replicate(session, path, to, false, true);
        if (replicated < 0) {
            return replicated;
        }
        TrimOptions options;
        options.resource = from;
        options.admin = true;
        return trim(session, path, options);
    }

    std::string checksum_without_policy(Session& session, DataObjInp& input)
    {
        const auto id = data_for(session, input, access::read);
        const Replica replica = writable_replica(session, session.catalog().replicas(id), "");
        if (!replica.checksum.empty() && getValByKey(&input.condInput, "forceChksum") == nullptr) {
            return replica.checksum;
        }
        // Good enough to tell contents apart; not SHA-256.
        std::uint64_t hash = 1469598103934665603ULL;
        for (const char c : read_file(replica.physical_path)) {
            hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
        }
        char text[32];
        std::snprintf(text, sizeof text, "fnv1a:%016llx", static_cast<unsigned long long>(hash));
        session.catalog().set_checksum(id, replica.number, text);
        return text;
    }

    int checksum(Session& session, const std::string& path, std::string& text)
    {
        DataObjInput input{path};
        char* out = nullptr;
        return api(
            session, "data_obj_chksum",
            [&] {
                text = checksum_without_policy(session, *input.get());
                return 0;
            },
            input.get(), &out);
    }
} // namespace zone
