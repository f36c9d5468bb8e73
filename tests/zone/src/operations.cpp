// SPDX-License-Identifier: BSD-3-Clause
// What the API calls share: registering between database PEPs, choosing resources, checking paths.

#include "operations.hpp"

#include "administration.hpp"
#include "remote.hpp"
#include "support.hpp"

#include "irods/irods_log.hpp"
#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <cstring>
#include <ctime>
#include <memory>
#include <random>

namespace zone
{
    namespace
    {
        // Big structures, so on the heap.
        std::unique_ptr<DataObjInfo> info_of(const Replica& replica)
        {
            auto info = std::make_unique<DataObjInfo>();
            std::memset(static_cast<void*>(info.get()), 0, sizeof(DataObjInfo));
            copy_to(info->objPath, replica.path);
            const auto semicolon = replica.hierarchy.find(';');
            copy_to(info->rescName, replica.hierarchy.substr(0, semicolon));
            copy_to(info->rescHier, replica.hierarchy);
            copy_to(info->dataType, replica.type);
            copy_to(info->chksum, replica.checksum);
            copy_to(info->filePath, replica.physical_path);
            copy_to(info->dataOwnerName, replica.owner);
            copy_to(info->dataOwnerZone, replica.owner_zone);
            copy_to(info->dataModify, replica.modified);
            info->dataSize = replica.size;
            info->replNum = replica.number;
            info->replStatus = replica.status;
            info->dataId = replica.data_id;
            info->collId = replica.coll_id;
            info->rescId = replica.resource_id;
            return info;
        }

        std::unique_ptr<CollInfo> collection_info(const std::string& path)
        {
            auto info = std::make_unique<CollInfo>();
            std::memset(static_cast<void*>(info.get()), 0, sizeof(CollInfo));
            copy_to(info->collName, path);
            copy_to(info->collParentName, parent_of(path));
            return info;
        }

        constexpr std::size_t longest_path = 1023;
    } // namespace

    DataObjInput::DataObjInput(const std::string& path)
    {
        std::memset(static_cast<void*>(&input_), 0, sizeof input_);
        copy_to(input_.objPath, path);
        if (!metadata_along().empty()) {
            with(METADATA_INCLUDED_KW, metadata_along());
        }
    }

    std::string& metadata_along()
    {
        static std::string metadata;
        return metadata;
    }

    DataObjInput::~DataObjInput()
    {
        clearKeyVal(&input_.condInput);
    }

    DataObjInput& DataObjInput::with(const char* keyword, const std::string& value)
    {
        addKeyVal(&input_.condInput, keyword, value.c_str());
        return *this;
    }

    bool DataObjInput::has(const char* keyword) const
    {
        return getValByKey(&input_.condInput, keyword) != nullptr;
    }

    std::string DataObjInput::value(const char* keyword) const
    {
        const char* found = getValByKey(&input_.condInput, keyword);
        return found == nullptr ? "" : found;
    }

    Replica register_new_data(Session& session, const std::string& path, const Resource& resource,
                              const std::string& physical, std::int64_t size, int status, const std::string& type,
                              bool touch_parent)
    {
        Replica replica;
        replica.path = path;
        replica.physical_path = physical;
        replica.size = size;
        replica.status = status;
        replica.resource_id = resource.id;
        replica.hierarchy = session.catalog().hierarchy(resource.id);
        const auto owner = session.client_user();
        replica.owner = owner.name;
        replica.owner_zone = owner.zone;
        const auto info = info_of(replica);
        database_operation(
            session, "reg_data_obj",
            [&] {
                replica = session.catalog().register_data(path, owner, resource, physical, size, status, type);
                info->dataId = replica.data_id;
                info->collId = replica.coll_id;
            },
            info.get());
        if (touch_parent) {
            touch_collection(session, parent_of(path));
        }
        return replica;
    }

    Replica register_new_replica(Session& session, const Replica& source, const Resource& resource,
                                 const std::string& physical, std::int64_t size, int status)
    {
        Replica replica = source;
        replica.physical_path = physical;
        replica.resource_id = resource.id;
        replica.hierarchy = session.catalog().hierarchy(resource.id);
        const auto from = info_of(source);
        const auto to = info_of(replica);
        KeyValPair conditions{};
        database_operation(
            session, "reg_replica",
            [&] { replica = session.catalog().register_replica(source, resource, physical, size, status); }, from.get(),
            to.get(), &conditions);
        return replica;
    }

    void register_new_collection(Session& session, const std::string& path, const User& owner)
    {
        const auto info = collection_info(path);
        database_operation(session, "reg_coll", [&] { session.catalog().create_collection(path, owner); }, info.get());
        touch_collection(session, parent_of(path));
    }

    void touch_collection(Session& session, const std::string& path)
    {
        const auto info = collection_info(path);
        database_operation(session, "mod_coll", [&] { session.catalog().touch_collection(path); }, info.get());
    }

    int database_pep(Session& session, const std::string& name, const std::string& path)
    {
        const auto nothing = [] {};
        Replica replica;
        replica.path = path;
        const auto info = info_of(replica);
        KeyValPair conditions{};
        if (name.find("coll") != std::string::npos) {
            database_operation(session, name, nothing, collection_info(path).get());
        }
        else if (name == "reg_replica") {
            database_operation(session, name, nothing, info.get(), info.get(), &conditions);
        }
        else if (name == "reg_data_obj") {
            database_operation(session, name, nothing, info.get());
        }
        else {
            database_operation(session, name, nothing, info.get(), &conditions);
        }
        return 0;
    }

    void unregister_replica(Session& session, const Replica& replica)
    {
        const auto info = info_of(replica);
        KeyValPair conditions{};
        database_operation(
            session, "unreg_replica", [&] { session.catalog().remove_replica(replica.data_id, replica.number); }, info.get(),
            &conditions);
    }

    void modify_replica(Session& session, const Replica& replica, const std::function<void()>& change)
    {
        const auto info = info_of(replica);
        KeyValPair conditions{};
        database_operation(session, "mod_data_obj_meta", change, info.get(), &conditions);
    }

    std::string vault_path(const Resource& leaf, const std::string& logical_path)
    {
        const auto after_zone = logical_path.find('/', 1);
        return leaf.vault + (after_zone == std::string::npos ? logical_path : logical_path.substr(after_zone));
    }

    std::string scattered_vault_path(Session& session, const Resource& leaf, const std::string& logical_path)
    {
        static std::mt19937 random{std::random_device{}()};
        const auto number = [] { return std::to_string(random() % 16); };
        return leaf.vault + "/" + session.actor().name + "/" + number() + "/" + number() + "/" + name_of(logical_path) + "." +
               std::to_string(std::time(nullptr)) + std::to_string(random() % 1000);
    }

    bool vault_is_scattered(Session& session)
    {
        return file_exists(session.server().directory + "/scattered_vault");
    }

    bool move_orphan(Session& session, const Resource& leaf, const std::string& physical_path)
    {
        if (session.catalog().database().integer("select 1 from R_DATA_MAIN where data_path = ? and resc_id = ?",
                                                 {physical_path, leaf.id})) {
            return false;
        }
        const std::string there = leaf.vault + "/orphan" + physical_path.substr(leaf.vault.size()) + "." + std::to_string(std::time(nullptr));
        make_directories(parent_of(there));
        rename_file(physical_path, there);
        return true;
    }

    std::string free_vault_path(Session& session, const Resource& leaf, const std::string& logical_path, int replica)
    {
        if (vault_is_scattered(session)) {
            return scattered_vault_path(session, leaf, logical_path);
        }
        const std::string wanted = vault_path(leaf, logical_path);
        if (!file_exists(wanted) || move_orphan(session, leaf, wanted)) {
            return wanted;
        }
        return wanted + "." + std::to_string(replica);
    }

    bool is_in_vault(const Resource& leaf, const std::string& physical_path)
    {
        return is_below(physical_path, leaf.vault);
    }

    Resource target_leaf(Session& session, const std::string& resource)
    {
        Catalog& catalog = session.catalog();
        std::string name = resource;
        if (name.empty()) {
            const auto* configured = session.server().config.find("default_resource_name");
            name = configured != nullptr ? configured->as_string() : "demoResc";
        }
        const auto root = catalog.resource(name);
        if (root.parent != 0) {
            throw Failure{DIRECT_CHILD_ACCESS, "resource [" + name + "] is a child"};
        }
        return catalog.leaves(root).front();
    }

    void replicate_to_siblings(Session& session, std::int64_t data_id, const Resource& leaf)
    {
        Catalog& catalog = session.catalog();
        if (leaf.parent == 0 || catalog.resource(leaf.parent).type != "replication") {
            return;
        }
        const auto replicas = catalog.replicas(data_id);
        const Replica* source = nullptr;
        for (const auto& replica : replicas) {
            source = replica.resource_id == leaf.id ? &replica : source;
        }
        for (const auto& sibling : catalog.leaves(catalog.resource(leaf.parent))) {
            if (sibling.id == leaf.id || source == nullptr) {
                continue;
            }
            const Replica* existing = nullptr;
            for (const auto& replica : replicas) {
                existing = replica.resource_id == sibling.id ? &replica : existing;
            }
            const std::string physical = existing != nullptr ? existing->physical_path : free_vault_path(session, sibling, source->path, source->number + 1);
            make_directories(parent_of(physical));
            copy_file(source->physical_path, physical);
            const int number = existing != nullptr
                                   ? existing->number
                                   : register_new_replica(session, *source, sibling, physical, source->size, INTERMEDIATE_REPLICA).number;
            catalog.finish_replica(data_id, number, source->size, GOOD_REPLICA, catalog_now());
            resource_modified(session, sibling.name);
        }
    }

    void require_valid_path(Session& session, const std::string& path)
    {
        if (path.size() > longest_path) {
            throw Failure{USER_STRLEN_TOOLONG, "the path has " + std::to_string(path.size()) + " bytes"};
        }
        if (path.empty() || path[0] != '/' || path.find("//") != std::string::npos || (path.size() > 1 && path.back() == '/')) {
            throw Failure{USER_INPUT_PATH_ERR, "not a logical path [" + path + "]"};
        }
        if (!starts_with(path + "/", "/" + session.catalog().zone() + "/")) {
            throw Failure{USER_INPUT_PATH_ERR, "[" + path + "] is not in zone [" + session.catalog().zone() + "]"};
        }
    }

    void require_may_create_in(Session& session, const std::string& collection)
    {
        const auto parent = session.catalog().collection(collection);
        session.catalog().require(parent.id, session.actor(), access::create_object, CAT_NO_ACCESS_PERMISSION, collection);
    }

    void require_unlocked(const std::vector<Replica>& replicas, const std::string& path)
    {
        for (const auto& replica : replicas) {
            if (replica.status == INTERMEDIATE_REPLICA) {
                throw Failure{INTERMEDIATE_REPLICA_ACCESS, "[" + path + "] is being written"};
            }
            if (replica.status == READ_LOCKED || replica.status == WRITE_LOCKED) {
                throw Failure{LOCKED_DATA_OBJECT_ACCESS, "[" + path + "] is locked"};
            }
        }
    }

    void static_policy(Session& session, const char* name, const std::vector<std::string>& words)
    {
        PluginHost& plugins = session.server().plugins;
        if (plugins.rule_exists(name)) {
            RuleContext context{session.comm(), ""};
            // As applyRuleArg does: the words themselves, neither an instance name nor a context before them.
            const auto result =
                plugins.exec_rule(name, [&words] { return Arguments(words.begin(), words.end()); }, context.callback());
            if (!result.ok()) {
                throw Failure{static_cast<int>(result.code()), std::string{name} + " failed"};
            }
            if (result.code() != RULE_ENGINE_CONTINUE) {
                return; // a plugin has the last word
            }
        }
        if (std::strcmp(name, "acPreProcForModifyAVUMetadata") == 0) {
            if (const int code = metadata_policy(session)) {
                throw Failure{code, std::string{name} + ": refused by the site's policy"};
            }
        }
    }
} // namespace zone
