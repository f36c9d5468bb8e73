// SPDX-License-Identifier: BSD-3-Clause

#include "administration.hpp"

#include "metadata.hpp"
#include "operations.hpp"
#include "support.hpp"

#include "irods/rcMisc.h"
#include "irods/rodsError.h"
#include "irods/rodsKeyWdDef.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

// The arguments of enforcement points; in none of the headers a plugin needs.
struct GeneralAdminInput
{
    const char* arg0;
    const char* arg1;
    const char* arg2;
    const char* arg3;
    const char* arg4;
    const char* arg5;
    const char* arg6;
    const char* arg7;
    const char* arg8;
    const char* arg9;
};

struct ModDataObjMetaInp
{
    DataObjInfo* dataObjInfo;
    KeyValPair* regParam;
};

namespace zone
{
    namespace
    {
        constexpr int user_bad_keyword_err = -315000;
        constexpr int cat_invalid_resource_vault_path = -813000;
        constexpr int cat_success_but_with_no_info = -819000;
        constexpr std::size_t longest_time = 32;

        void require_administrator(Session& session)
        {
            if (!session.privileged()) {
                throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "that is for rodsadmins"};
            }
        }

        int general_admin(Session& session, const std::vector<std::string>& words, const std::function<int()>& run)
        {
            GeneralAdminInput input{"", "", "", "", "", "", "", "", "", ""};
            const char** const members[] = {&input.arg0, &input.arg1, &input.arg2, &input.arg3, &input.arg4};
            for (std::size_t i = 0; i < words.size() && i < 5; ++i) {
                *members[i] = words[i].c_str();
            }
            return api(
                session, "general_admin",
                [&] {
                    require_administrator(session);
                    return run();
                },
                &input);
        }

        void remove_collection_if_present(Session& session, const std::string& path)
        {
            Catalog& catalog = session.catalog();
            const auto collection = catalog.find_collection(path);
            if (!collection) {
                return;
            }
            if (!catalog.child_collections(path).empty() || !catalog.data_in(path).empty()) {
                throw Failure{CAT_COLLECTION_NOT_EMPTY, "collection [" + path + "] is not empty"};
            }
            catalog.remove_collection(collection->id);
        }

        // Every leaf below the resource gets a good replica of what one of them has.
        void rebalance(Session& session, const Resource& root)
        {
            Catalog& catalog = session.catalog();
            if (root.type != "replication") {
                return;
            }
            const auto leaves = catalog.leaves(root);
            std::set<std::int64_t> objects;
            for (const auto& leaf : leaves) {
                catalog.database().query("select distinct data_id from R_DATA_MAIN where resc_id = ?", {leaf.id},
                                         [&objects](const Row& row) { objects.insert(row.integer(0)); });
            }
            for (const auto data_id : objects) {
                for (const auto& replica : catalog.replicas(data_id)) {
                    if (replica.status == GOOD_REPLICA) {
                        replicate_to_siblings(session, data_id, catalog.resource(replica.resource_id));
                        break;
                    }
                }
            }
        }

        // Keyword of the API, column of R_DATA_MAIN.
        const std::map<std::string, const char*>& columns()
        {
            static const std::map<std::string, const char*> all{
                {"collId", "coll_id"},
                {"dataCreate", "create_ts"},
                {"chksum", "data_checksum"},
                {"dataExpiry", "data_expiry_ts"},
                {"replStatus", "data_is_dirty"},
                {"dataMode", "data_mode"},
                {"dataName", "data_name"},
                {"dataOwner", "data_owner_name"},
                {"dataOwnerZone", "data_owner_zone"},
                {"filePath", "data_path"},
                {"replNum", "data_repl_num"},
                {"dataSize", "data_size"},
                {"statusString", "data_status"},
                {"dataType", "data_type_name"},
                {"version", "data_version"},
                {"dataModify", "modify_ts"},
                {"dataComments", "r_comment"},
                {"rescId", "resc_id"},
                {"dataAccessTime", "access_ts"},
            };
            return all;
        }

        // The text of a time goes into the catalog as it is, unless it is shorter than times are: then it is taken for a
        // number, whatever it is.
        std::string time_text(const std::string& text)
        {
            if (text.size() > longest_time) {
                throw Failure{CAT_SQL_ERR, "value too long for type character varying(32)"};
            }
            if (text.size() >= 11) {
                return text;
            }
            char padded[20];
            std::snprintf(padded, sizeof padded, "%011d", static_cast<int>(std::atoll(text.c_str())));
            return padded;
        }

        void change_replicas(Session& session, const ReplicaChange& change)
        {
            Catalog& catalog = session.catalog();
            static_policy(session, "acPreProcForModifyDataObjMeta");
            const auto column = columns().find(change.keyword);
            const auto data_id = catalog.find_data(change.path);
            if (!data_id) {
                throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + change.path + "]"};
            }
            const bool is_time = change.keyword == "dataExpiry" || change.keyword == "dataModify" || change.keyword == "dataAccessTime";
            bool found = false;
            for (const auto& replica : catalog.replicas(*data_id)) {
                if (!change.all_replicas && replica.number != change.replica) {
                    continue;
                }
                found = true;
                modify_replica(session, replica, [&] {
                    if (!change.admin) {
                        const int level = change.keyword == "dataExpiry" ? access::delete_object : access::modify_metadata;
                        catalog.require(*data_id, session.actor(), level, CAT_NO_ACCESS_PERMISSION, change.path);
                    }
                    if (column == columns().end()) {
                        return; // nothing the catalog knows
                    }
                    catalog.database().execute(std::string{"update R_DATA_MAIN set "} + column->second +
                                                   " = ? where data_id = ? and data_repl_num = ?",
                                               {is_time ? time_text(change.value) : change.value, *data_id,
                                                std::int64_t{replica.number}});
                });
            }
            if (!found) {
                throw Failure{cat_success_but_with_no_info, "no such replica"};
            }
            static_policy(session, "acPostProcForModifyDataObjMeta");
        }

        int change_call(Session& session, const char* name, const ReplicaChange& change, const std::function<void()>& run)
        {
            auto info = std::make_unique<DataObjInfo>();
            std::memset(static_cast<void*>(info.get()), 0, sizeof(DataObjInfo));
            copy_to(info->objPath, change.path);
            info->replNum = change.replica;
            KeyValPair conditions{};
            addKeyVal(&conditions, change.keyword.c_str(), change.value.c_str());
            if (change.all_replicas) {
                addKeyVal(&conditions, ALL_KW, "");
            }
            if (change.admin) {
                addKeyVal(&conditions, ADMIN_KW, "");
            }
            ModDataObjMetaInp input{info.get(), &conditions};
            const int code = api(
                session, name,
                [&run] {
                    run();
                    return 0;
                },
                &input);
            clearKeyVal(&conditions);
            return code;
        }

        std::string policy_file(const std::string& directory)
        {
            return directory + "/metadata_policy";
        }
    } // namespace

    int remove_user(Session& session, const std::string& name, bool leave_collections)
    {
        return general_admin(session, {"rm", "user", name}, [&] {
            Catalog& catalog = session.catalog();
            const auto hash = name.find('#');
            const auto user = catalog.user(name.substr(0, hash), hash == std::string::npos ? catalog.zone() : name.substr(hash + 1));
            if (user.name == session.actor().name && user.zone == session.actor().zone) {
                throw Failure{CAT_INVALID_USER, "an administrator does not remove the own account"};
            }
            Transaction transaction{catalog.database()};
            if (!leave_collections) {
                const std::string root = "/" + catalog.zone();
                remove_collection_if_present(session, root + "/home/" + name);
                remove_collection_if_present(session, root + "/trash/home/" + name);
            }
            catalog.remove_user(user);
            transaction.commit();
            return 0;
        });
    }

    int modify_resource(Session& session, const std::string& name, const std::string& option, const std::string& value)
    {
        return general_admin(session, {"modify", "resource", name, option, value}, [&] {
            Catalog& catalog = session.catalog();
            const auto resource = catalog.resource(name);
            static_policy(session, "acPreProcForModifyResource", {name, option, value});
            if (option == "path") {
                if (value.size() < 2 || value[0] != '/') {
                    throw Failure{cat_invalid_resource_vault_path, "[" + value + "] is no path of a vault"};
                }
                catalog.database().execute("update R_RESC_MAIN set resc_def_path = ?, modify_ts = ? where resc_id = ?",
                                           {value, catalog_now(), resource.id});
            }
            else if (option == "status") {
                catalog.database().execute("update R_RESC_MAIN set resc_status = ?, modify_ts = ? where resc_id = ?",
                                           {value, catalog_now(), resource.id});
            }
            else if (option == "rebalance") {
                rebalance(session, resource);
            }
            else {
                throw Failure{CAT_INVALID_ARGUMENT, "modresc [" + option + "]: only path, status and rebalance"};
            }
            static_policy(session, "acPostProcForModifyResource", {name, option, value});
            return 0;
        });
    }

    int modify_data_paths(Session& session, const std::string& name, const std::string& from, const std::string& to)
    {
        return general_admin(session, {"modify", "resourcedatapaths", name, from, to}, [&] {
            if (from.size() < 3 || to.size() < 3 || from[0] != '/' || to[0] != '/' || from.back() != '/' || to.back() != '/') {
                throw Failure{CAT_INVALID_ARGUMENT, "both paths begin and end with a slash"};
            }
            const auto resource = session.catalog().resource(name);
            session.catalog().database().execute("update R_DATA_MAIN set data_path = replace(data_path, ?, ?) where resc_id = ? and"
                                                 " substr(data_path, 1, length(?)) = ?",
                                                 {from, to, resource.id, from, from});
            return 0;
        });
    }

    int modify_data_info(Session& session, const ReplicaChange& change)
    {
        return change_call(session, "data_object_modify_info", change, [&] {
            const std::set<std::string> allowed{"dataComments", "dataExpiry", "dataModify", "dataType", "dataAccessTime"};
            if (columns().count(change.keyword) != 0 && allowed.count(change.keyword) == 0) {
                throw Failure{user_bad_keyword_err, "invalid keyword found"};
            }
            int& flag = session.comm()->clientUser.authInfo.authFlag;
            const int own = flag;
            flag = LOCAL_PRIV_USER_AUTH;
            try {
                change_replicas(session, change);
            }
            catch (...) {
                flag = own;
                throw;
            }
            flag = own;
        });
    }

    int repair_replica(Session& session, const ReplicaChange& change)
    {
        ReplicaChange with_right = change;
        with_right.admin = true;
        return change_call(session, "mod_data_obj_meta", with_right, [&] {
            require_administrator(session);
            change_replicas(session, with_right);
        });
    }

    void set_metadata_policy(const std::string& directory, bool administrators_only)
    {
        if (administrators_only) {
            write_file(policy_file(directory), "administrators only\n");
        }
        else {
            remove_file(policy_file(directory));
        }
    }

    int metadata_policy(Session& session)
    {
        if (!file_exists(policy_file(session.server().directory))) {
            return 0;
        }
        const auto& client = session.comm()->clientUser;
        const auto user = session.catalog().find_user(client.userName, client.rodsZone);
        if (user && user->type == "rodsadmin") {
            return 0;
        }
        addRErrorMsg(&session.comm()->rError, 0, "AVUs are changed by administrators only (policy of this site)");
        return CAT_INSUFFICIENT_PRIVILEGE_LEVEL;
    }
} // namespace zone
