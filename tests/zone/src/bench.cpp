// SPDX-License-Identifier: BSD-3-Clause

#include "bench.hpp"

#include "operations.hpp"
#include "support.hpp"

#include "irods/fileLseek.h"
#include "irods/irods_plugin_context.hpp"
#include "irods/modAVUMetadata.h"

#include <fcntl.h>

#include <chrono>
#include <cstring>

namespace zone
{
    namespace
    {
        std::string report(const Statistics& counts, const std::string& what, long count, double seconds, long failures)
        {
            Json calls = Json::object();
            for (const auto& [name, number] : counts) {
                calls.set(name, number);
            }
            return Json::object({{"bench", what},
                                 {"calls", static_cast<std::int64_t>(count)},
                                 {"seconds_e6", static_cast<std::int64_t>(seconds * 1e6)},
                                 {"calls_per_second", static_cast<std::int64_t>(seconds > 0 ? static_cast<double>(count) / seconds : 0)},
                                 {"failures", static_cast<std::int64_t>(failures)},
                                 {"counts", calls}})
                .dump();
        }

        double seconds_since(std::chrono::steady_clock::time_point start)
        {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        }

        // The arguments of a PEP after the first two, by the name of its operation.
        struct EventArguments
        {
            DataObjInput data;
            DataObjCopyInp copy;
            CollInp collection;
            OpenedDataObjInp opened;
            ModifyAVUMetadataInput avu;
            BytesBuf buffer{0, nullptr};
            BytesBuf* answer = nullptr;
            portalOprOut* portal = nullptr;
            TransferStat* transfer = nullptr;
            CollectionOperationStat* stat = nullptr;
            std::string json;
            std::string path;
            char words[6][16] = {"add", "-d", "", "attribute", "value", ""};

            explicit EventArguments(const std::string& first)
                : data{first}
            {
                std::memset(static_cast<void*>(&copy), 0, sizeof copy);
                std::memset(static_cast<void*>(&collection), 0, sizeof collection);
                std::memset(static_cast<void*>(&opened), 0, sizeof opened);
                std::memset(static_cast<void*>(&avu), 0, sizeof avu);
                data->openFlags = O_RDWR | O_CREAT;
                opened.l1descInx = 3;
                avu.arg0 = words[0];
                avu.arg1 = words[1];
                avu.arg3 = words[3];
                avu.arg4 = words[4];
                avu.arg5 = words[5];
            }

            void aim(const std::string& at)
            {
                path = at;
                copy_to(data->objPath, at);
                copy_to(copy.srcDataObjInp.objPath, at);
                copy_to(copy.destDataObjInp.objPath, at + ".copy");
                copy_to(collection.collName, at);
                avu.arg2 = &path[0];
                json = Json::object({{"logical_path", at}, {"fd", 3}}).dump();
                buffer = {static_cast<int>(json.size()), &json[0]};
            }

            Arguments for_pep(const std::string& pep)
            {
                const auto is = [&pep](const char* operation) { return pep.find(operation) != std::string::npos; };
                if (is("data_obj_put")) {
                    return {boost::any(data.get()), boost::any(&buffer), boost::any(&portal)};
                }
                if (is("data_obj_copy")) {
                    return {boost::any(&copy), boost::any(&transfer)};
                }
                if (is("data_obj_rename")) {
                    return {boost::any(&copy)};
                }
                if (is("coll_create")) {
                    return {boost::any(&collection)};
                }
                if (is("rm_coll")) {
                    return {boost::any(&collection), boost::any(&stat)};
                }
                if (is("mod_avu_metadata")) {
                    return {boost::any(&avu)};
                }
                if (is("data_obj_close")) {
                    return {boost::any(&opened)};
                }
                if (is("data_obj_write") || is("data_obj_read")) {
                    return {boost::any(&opened), boost::any(&buffer)};
                }
                if (is("replica_open")) {
                    return {boost::any(data.get()), boost::any(&answer)};
                }
                if (is("replica_close") || is("touch")) {
                    return {boost::any(&buffer)};
                }
                if (is("atomic_apply_metadata")) {
                    return {boost::any(&buffer), boost::any(&answer)};
                }
                if (is("data_obj_repl") || is("data_obj_phymv")) {
                    return {boost::any(data.get()), boost::any(&transfer)};
                }
                return {boost::any(data.get())};
            }
        };
    } // namespace

    std::string bench_rule_exists(Session& session, const std::string& rule, long count)
    {
        session.statistics().clear();
        const auto start = std::chrono::steady_clock::now();
        long found = 0;
        for (long i = 0; i < count; ++i) {
            found += session.server().plugins.rule_exists(rule) ? 1 : 0;
        }
        const double seconds = seconds_since(start);
        Statistics counts = session.statistics();
        counts["found"] = found;
        return report(counts, "rule_exists " + rule, count, seconds, 0);
    }

    std::string bench_event(Session& session, const std::string& pep, const std::string& collection, long count)
    {
        session.statistics().clear();
        EventArguments arguments{collection};
        RuleContext context{session.comm(), ""};
        irods::plugin_property_map properties;
        irods::plugin_context plugin_context{session.comm(), properties};
        const std::string instance = "api_instance";
        long failures = 0;
        const auto start = std::chrono::steady_clock::now();
        for (long i = 0; i < count; ++i) {
            arguments.aim(collection + "/" + std::to_string(i) + ".tif");
            const auto make = [&] {
                Arguments all{boost::any(instance), boost::any(plugin_context)};
                all.splice(all.end(), arguments.for_pep(pep));
                return all;
            };
            failures += session.server().plugins.exec_rule(pep, make, context.callback()).ok() ? 0 : 1;
        }
        return report(session.statistics(), pep, count, seconds_since(start), failures);
    }
} // namespace zone
