// SPDX-License-Identifier: BSD-3-Clause
// Names: making, moving and removing collections and data objects, and who may do what with them. Replicas in
// a vault follow their logical path; registered ones stay where they are.

#include "operations.hpp"

#include "meeting.hpp"
#include "remote.hpp"
#include "support.hpp"

#include "irods/modAccessControl.h"
#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <unistd.h>

#include <cstring>
#include <memory>
#include <random>

namespace zone
{
    namespace
    {
        constexpr int sys_phy_path_inuse = -120000;

        std::unique_ptr<CollInp> collection_input(const std::string& path)
        {
            auto input = std::make_unique<CollInp>();
            std::memset(static_cast<void*>(input.get()), 0, sizeof(CollInp));
            copy_to(input->collName, path);
            return input;
        }

        // After a rename: the file of each vault replica goes where the new path wants it, and then the catalog is told.
        void follow_path(Session& session, std::int64_t data_id)
        {
            Catalog& catalog = session.catalog();
            if (vault_is_scattered(session)) {
                return; // by that scheme a path has nothing to do with the name
            }
            for (const auto& replica : catalog.replicas(data_id)) {
                const auto leaf = catalog.resource(replica.resource_id);
                if (!is_in_vault(leaf, replica.physical_path)) {
                    continue;
                }
                const std::string wanted = vault_path(leaf, replica.path);
                if (wanted != replica.physical_path) {
                    if (file_exists(wanted) && !move_orphan(session, leaf, wanted)) {
                        throw Failure{sys_phy_path_inuse, "[" + wanted + "] is another data object's"};
                    }
                    rename_file(replica.physical_path, wanted);
                }
                modify_replica(session, replica, [&] { catalog.set_physical_path(data_id, replica.number, wanted); });
            }
        }

        // A new name for a data object, and its files after it. A file that cannot be moved fails the whole, if it is the
        // first; telling the catalog of one that was moved commits what has been done so far.
        void move_data_object(Session& session, std::int64_t data_id, const std::string& from, const std::string& to)
        {
            Catalog& catalog = session.catalog();
            const auto before = catalog.replicas(data_id);
            catalog.move_data(data_id, to);
            try {
                follow_path(session, data_id);
            }
            catch (const Failure&) {
                const auto after = catalog.replicas(data_id);
                if (before.front().physical_path == after.front().physical_path) {
                    catalog.move_data(data_id, from);
                    for (const auto& replica : before) {
                        catalog.set_modify_time(data_id, replica.number, replica.modified);
                    }
                }
                throw;
            }
        }

        std::vector<std::int64_t> data_below(Catalog& catalog, const std::string& path)
        {
            std::vector<std::int64_t> all;
            for (const auto& child : catalog.child_collections(path)) {
                for (const auto id : data_below(catalog, child.path)) {
                    all.push_back(id);
                }
            }
            for (const auto& replica : catalog.data_in(path)) {
                all.push_back(replica.data_id);
            }
            return all;
        }

        void require_free(Catalog& catalog, const std::string& path)
        {
            if (catalog.find_data(path)) {
                throw Failure{CAT_NAME_EXISTS_AS_DATAOBJ, "[" + path + "] exists"};
            }
            if (catalog.find_collection(path)) {
                throw Failure{CAT_NAME_EXISTS_AS_COLLECTION, "[" + path + "] exists"};
            }
        }

        // /zone/home/me/a/b goes to /zone/trash/home/me/a/b, /zone/home/other/a to /zone/trash/home/me/other/a; a
        // name that is taken gets a number.
        std::string trash_path(Session& session, const std::string& path)
        {
            Catalog& catalog = session.catalog();
            const std::string zone = "/" + catalog.zone();
            const std::string me = session.actor().name;
            std::string rest = path.substr(zone.size() + 1);
            if (starts_with(rest, "home/")) {
                rest = rest.substr(5);
                if (starts_with(rest, me + "/")) {
                    rest = rest.substr(me.size() + 1);
                }
            }
            std::string target = zone + "/trash/home/" + me + "/" + rest;
            std::mt19937 random{std::random_device{}()};
            while (catalog.find_data(target) || catalog.find_collection(target)) {
                target = zone + "/trash/home/" + me + "/" + rest + "." + std::to_string(random());
            }
            return target;
        }

        void require_collections(Session& session, const std::string& path)
        {
            if (!session.catalog().find_collection(path)) {
                require_collections(session, parent_of(path));
                register_new_collection(session, path, session.client_user());
            }
        }

        bool is_in_trash(Session& session, const std::string& path)
        {
            return is_below(path, "/" + session.catalog().zone() + "/trash");
        }

        void remove_data(Session& session, std::int64_t data_id, const std::string& path, bool unregister)
        {
            Catalog& catalog = session.catalog();
            for (const auto& replica : catalog.replicas(data_id)) {
                const auto leaf = catalog.resource(replica.resource_id);
                const bool in_vault = is_in_vault(leaf, replica.physical_path);
                if (unregister && in_vault && !session.privileged()) {
                    throw Failure{CANT_UNREG_IN_VAULT_FILE, "[" + path + "] is in a vault"};
                }
                unregister_replica(session, replica);
                // What is registered where it lies is never deleted with its data object.
                if (in_vault && !unregister) {
                    remove_file(replica.physical_path);
                }
            }
            touch_collection(session, parent_of(path));
        }

        struct TreeRemoval
        {
            bool unregister = false;
            bool any_owner = false;        // an administrator empties the trash of others
            bool keep_collections = false; // those of the users in the trash
        };

        bool is_trash_of_a_user(Session& session, const std::string& path)
        {
            const std::string homes = "/" + session.catalog().zone() + "/trash/home";
            return path == homes || parent_of(path) == homes;
        }

        // Removes what may be removed, whatever of it fails: 0, or the code of the last failure, after which the
        // collections around it stay.
        int remove_tree(Session& session, const std::string& path, const TreeRemoval& how)
        {
            Catalog& catalog = session.catalog();
            int result = 0;
            for (const auto& child : catalog.child_collections(path)) {
                const int code = remove_tree(session, child.path, how);
                result = code < 0 ? code : result;
            }
            for (const auto& replica : catalog.data_in(path)) {
                try {
                    if (!how.any_owner) {
                        catalog.require(replica.data_id, session.actor(), access::delete_object, CAT_NO_ACCESS_PERMISSION, replica.path);
                    }
                    require_unlocked(catalog.replicas(replica.data_id), replica.path);
                    remove_data(session, replica.data_id, replica.path, how.unregister);
                }
                catch (const Failure& failure) {
                    session.last_failure = failure.what();
                    result = failure.code();
                }
            }
            if (result < 0 || (how.keep_collections && is_trash_of_a_user(session, path))) {
                return result;
            }
            const auto collection = catalog.collection(path);
            CollInfo* none = nullptr;
            database_operation(session, "del_coll", [&] { catalog.remove_collection(collection.id); }, none);
            return 0;
        }
    } // namespace

    void make_collection_without_policy(Session& session, const std::string& path, bool parents)
    {
        Catalog& catalog = session.catalog();
        require_valid_path(session, path);
        const auto there = catalog.find_collection(path);
        // The look is a query of the client, who does not see everything; what is there all the same is found by its name
        // being taken.
        if (there && (parents || session.privileged() || catalog.access(there->id, session.actor()) >= access::read)) {
            if (parents) {
                return;
            }
            throw Failure{CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, "collection [" + path + "] exists"};
        }
        if (parents && !catalog.find_collection(parent_of(path))) {
            make_collection_without_policy(session, parent_of(path), true);
        }
        require_may_create_in(session, parent_of(path));
        meet(session.server().directory, "collection", path);
        register_new_collection(session, path, session.client_user());
        static_policy(session, "acPostProcForCollCreate");
    }

    int make_collection(Session& session, const std::string& path, bool parents)
    {
        const auto input = collection_input(path);
        if (parents) {
            addKeyVal(&input->condInput, RECURSIVE_OPR__KW, "");
        }
        const int code = api(
            session, "coll_create",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"mkdir", parents ? "-p" : "-P", path}).code;
                }
                make_collection_without_policy(session, path, parents);
                return 0;
            },
            input.get());
        clearKeyVal(&input->condInput);
        return code;
    }

    void rename_without_policy(Session& session, const std::string& from, const std::string& to)
    {
        Catalog& catalog = session.catalog();
        require_valid_path(session, from);
        require_valid_path(session, to);
        if (from == to) {
            throw Failure{SAME_SRC_DEST_PATHS_ERR, "source and target are the same"};
        }
        require_free(catalog, to);
        if (const auto id = catalog.find_data(from)) {
            catalog.require(*id, session.actor(), access::delete_object, CAT_NO_ACCESS_PERMISSION, from);
            require_unlocked(catalog.replicas(*id), from);
            require_may_create_in(session, parent_of(to));
            move_data_object(session, *id, from, to);
        }
        else {
            const auto collection = catalog.collection(from);
            catalog.require(collection.id, session.actor(), access::own, CAT_NO_ACCESS_PERMISSION, from);
            if (is_below(to, from)) {
                throw Failure{SAME_SRC_DEST_PATHS_ERR, "a collection cannot go into itself"};
            }
            require_may_create_in(session, parent_of(to));
            catalog.move_collection(from, to);
            for (const auto below : data_below(catalog, to)) {
                follow_path(session, below);
            }
        }
        touch_collection(session, parent_of(to));
        static_policy(session, "acPostProcForObjRename");
    }

    int rename(Session& session, const std::string& from, const std::string& to)
    {
        auto input = std::make_unique<DataObjCopyInp>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(DataObjCopyInp));
        copy_to(input->srcDataObjInp.objPath, from);
        copy_to(input->destDataObjInp.objPath, to);
        input->srcDataObjInp.oprType = RENAME_UNKNOWN_TYPE;
        input->destDataObjInp.oprType = RENAME_UNKNOWN_TYPE;
        return api(
            session, "data_obj_rename",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"rename", from, to}).code;
                }
                rename_without_policy(session, from, to);
                return 0;
            },
            input.get());
    }

    int unlink(Session& session, const std::string& path, bool force, bool unregister, bool admin)
    {
        DataObjInput input{path};
        if (force) {
            input.with(FORCE_FLAG_KW);
        }
        if (unregister) {
            input->oprType = UNREG_OPR;
        }
        if (admin) {
            input.with(ADMIN_KW);
        }
        return api(
            session, "data_obj_unlink",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({unregister ? "unreg" : "rm", force ? "-f" : "-F", path}).code;
                }
                unlink_without_policy(session, path, force, unregister, admin);
                return 0;
            },
            input.get());
    }

    void unlink_without_policy(Session& session, const std::string& path, bool force, bool unregister, bool admin)
    {
        Catalog& catalog = session.catalog();
        const auto id = catalog.find_data(path);
        if (!id) {
            throw Failure{catalog.find_collection(path) ? CAT_UNKNOWN_FILE : OBJ_PATH_DOES_NOT_EXIST,
                          "no such data object [" + path + "]"};
        }
        if (!(admin && session.privileged())) {
            catalog.require(*id, session.actor(), access::delete_object, CAT_NO_ACCESS_PERMISSION, path);
        }
        require_unlocked(catalog.replicas(*id), path);
        if (force || unregister || is_in_trash(session, path)) {
            remove_data(session, *id, path, unregister);
        }
        else {
            const std::string target = trash_path(session, path);
            require_collections(session, parent_of(target));
            move_data_object(session, *id, path, target);
            touch_collection(session, parent_of(path));
            touch_collection(session, parent_of(target));
            touch_collection(session, parent_of(parent_of(target)));
        }
        static_policy(session, "acPostProcForDelete");
    }

    int remove_collection_without_policy(Session& session, const std::string& path, bool recursive, bool force, bool unregister)
    {
        Catalog& catalog = session.catalog();
        require_valid_path(session, path);
        const auto collection = catalog.collection(path);
        catalog.require(collection.id, session.actor(), access::own, CAT_NO_ACCESS_PERMISSION, path);
        if (!recursive && (!catalog.child_collections(path).empty() || !catalog.data_in(path).empty())) {
            throw Failure{CAT_COLLECTION_NOT_EMPTY, "collection [" + path + "] is not empty"};
        }
        // rsRmColl takes only what it removes recursively to the trash.
        if (!recursive || force || unregister || is_in_trash(session, path)) {
            TreeRemoval how;
            how.unregister = unregister;
            if (const int code = remove_tree(session, path, how)) {
                return code;
            }
            touch_collection(session, parent_of(path));
        }
        else {
            for (const auto id : data_below(catalog, path)) {
                require_unlocked(catalog.replicas(id), path);
            }
            const std::string target = trash_path(session, path);
            require_collections(session, parent_of(target));
            catalog.move_collection(path, target);
            for (const auto id : data_below(catalog, target)) {
                follow_path(session, id);
            }
            touch_collection(session, parent_of(path));
            touch_collection(session, parent_of(target));
            touch_collection(session, parent_of(parent_of(target)));
        }
        static_policy(session, "acPostProcForRmColl");
        return 0;
    }

    int remove_collection(Session& session, const std::string& path, bool recursive, bool force, bool unregister)
    {
        const auto input = collection_input(path);
        if (recursive) {
            addKeyVal(&input->condInput, RECURSIVE_OPR__KW, "");
        }
        if (force) {
            addKeyVal(&input->condInput, FORCE_FLAG_KW, "");
        }
        if (unregister) {
            addKeyVal(&input->condInput, UNREG_KW, "");
        }
        CollectionOperationStat* stat = nullptr;
        const int code = api(
            session, "rm_coll",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()
                        ->call({unregister ? "unreg" : "rm", recursive ? "-r" : "-R", force ? "-f" : "-F", path})
                        .code;
                }
                return remove_collection_without_policy(session, path, recursive, force, unregister);
            },
            input.get(), &stat);
        clearKeyVal(&input->condInput);
        return code;
    }

    int empty_trash(Session& session, const std::string& user, bool admin)
    {
        const std::string homes = "/" + session.catalog().zone() + "/trash/home";
        const std::string path = user.empty() ? homes : homes + "/" + user;
        const auto input = collection_input(path);
        addKeyVal(&input->condInput, FORCE_FLAG_KW, "");
        addKeyVal(&input->condInput, RECURSIVE_OPR__KW, "");
        addKeyVal(&input->condInput, admin ? ADMIN_RMTRASH_KW : RMTRASH_KW, "");
        CollectionOperationStat* stat = nullptr;
        const int code = api(
            session, "rm_coll",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"empty-trash", admin ? "-M" : "-N", user}).code;
                }
                if (admin && !session.privileged()) {
                    throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "the trash of others is for rodsadmins"};
                }
                session.catalog().collection(path);
                TreeRemoval how;
                how.any_owner = admin;
                how.keep_collections = true;
                const int result = remove_tree(session, path, how);
                static_policy(session, "acPostProcForRmColl");
                return result;
            },
            input.get(), &stat);
        clearKeyVal(&input->condInput);
        return code;
    }

    // ---- permissions -----------------------------------------------------------------------------------------

    namespace
    {
        void change_below(Session& session, const std::string& path, const std::function<void(std::int64_t, bool)>& change)
        {
            Catalog& catalog = session.catalog();
            change(catalog.collection(path).id, true);
            for (const auto& replica : catalog.data_in(path)) {
                change(replica.data_id, false);
            }
            for (const auto& child : catalog.child_collections(path)) {
                change_below(session, child.path, change);
            }
        }
    } // namespace

    void change_access_without_policy(Session& session, const std::string& level, const std::string& user,
                                      const std::string& path, bool recursive, bool admin)
    {
        Catalog& catalog = session.catalog();
        if (admin && !session.privileged()) {
            throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "[admin] is for rodsadmins"};
        }
        const bool inheritance = level == "inherit" || level == "noinherit";
        const auto hash = user.find('#');
        const User whom = inheritance ? User{}
                                      : catalog.user(user.substr(0, hash), hash == std::string::npos ? catalog.zone() : user.substr(hash + 1));
        const int number = inheritance ? 0 : access::from_name(level);
        const auto change = [&](std::int64_t id, bool is_collection) {
            if (!admin) {
                catalog.require(id, session.actor(), access::own, CAT_NO_ACCESS_PERMISSION, path);
            }
            if (!inheritance) {
                catalog.set_access(id, whom, number);
            }
            else if (is_collection) {
                catalog.set_inheritance(id, level == "inherit");
            }
        };
        Transaction transaction{catalog.database()};
        if (const auto id = catalog.find_data(path)) {
            change(*id, false);
        }
        else if (recursive) {
            change_below(session, path, change);
        }
        else {
            change(catalog.collection(path).id, true);
        }
        transaction.commit();
    }

    int change_access(Session& session, const std::string& level, const std::string& user, const std::string& path,
                      bool recursive, bool admin)
    {
        std::string level_text = (admin ? MOD_ADMIN_MODE_PREFIX : "") + level;
        std::string user_text = user.substr(0, user.find('#'));
        std::string zone_text = user.find('#') == std::string::npos ? "" : user.substr(user.find('#') + 1);
        std::string path_text = path;
        modAccessControlInp_t input{recursive ? 1 : 0, &level_text[0], &user_text[0], &zone_text[0], &path_text[0]};
        return api(
            session, "mod_access_control",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    return session.remote()->call({"chmod", recursive ? "-r" : "-R", admin ? "-M" : "-N", level, user, path}).code;
                }
                int recursive_flag = recursive ? 1 : 0;
                const char* words[] = {level_text.c_str(), user_text.c_str(), zone_text.c_str(), path_text.c_str()};
                std::string out_parameter;
                std::string* out = &out_parameter;
                // The database operation ends as an error with code 0: _except fires and the client is content.
                const auto outcome = with_policy(
                    session, "sqlite_instance", "database_mod_access_control",
                    [&] {
                        return Arguments{boost::any(out),      boost::any(recursive_flag), boost::any(words[0]),
                                         boost::any(words[1]), boost::any(words[2]),       boost::any(words[3])};
                    },
                    [&] {
                        change_access_without_policy(session, level, user, path, recursive, admin);
                        return Outcome{0, false};
                    });
                return outcome.code;
            },
            &input);
    }
} // namespace zone
