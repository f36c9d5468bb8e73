// SPDX-License-Identifier: BSD-3-Clause
// Metadata calls, irule, and putting rules into the delay queue.

#include "operations.hpp"

#include "metadata.hpp"
#include "remote.hpp"
#include "support.hpp"
#include "verbs.hpp"

#include "irods/execMyRule.h"
#include "irods/irods_log.hpp"
#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <regex>

namespace zone
{
    namespace
    {
        constexpr int input_arg_not_well_formed_err = -1084000;
        constexpr int cat_success_but_with_no_info = -819000;
        constexpr int user_access_denied = -350000;
        constexpr int date_format_err = -1100000;
        constexpr std::size_t longest_frequency = 63;

        // Rule text with one of these after a dollar is refused: it might be a session variable of old.
        bool has_session_variable(const std::string& text)
        {
            static const std::regex variables{
                "\\$\\b(?:pluginInstanceName|status|objPath|dataType|dataSize|chksum|version|filePath|replNum|replStatus|"
                "writeFlag|dataOwner|dataOwnerZone|dataExpiry|dataComments|dataCreate|dataModify|dataAccess|dataAccessInx|"
                "dataId|collId|statusString|destRescName|rescName|userClient|userNameClient|rodsZoneClient|sysUidClient|"
                "privClient|clientAddr|authStrClient|userAuthSchemeClient|userInfoClient|userCommentClient|userCreateClient|"
                "userModifyClient|userProxy|userNameProxy|rodsZoneProxy|privProxy|authStrProxy|userAuthSchemeProxy|"
                "userInfoProxy|userCommentProxy|userCreateProxy|userModifyProxy|collName|collParentName|collOwnername|"
                "collExpiry|collComments|collCreate|collModify|collAccess|collAccessInx|collInheritance|otherUser|"
                "otherUserName|otherUserZone|otherUserType|connectCnt|connectSock|connectOption|connectStatus|connectApiInx|"
                "KVPairs)\\b"};
            return text.find('$') != std::string::npos && std::regex_search(text, variables);
        }

        // The content of the first <NAME>...</NAME>.
        std::string element(const std::string& text, const std::string& name, bool& found)
        {
            const auto start = text.find("<" + name + ">");
            const auto end = text.find("</" + name + ">");
            found = start != std::string::npos && end != std::string::npos && end > start;
            return found ? text.substr(start + name.size() + 2, end - start - name.size() - 2) : "";
        }

        // "90", "90s", "5m", "2h", "1d": seconds from now, as text.
        std::string due_time(const std::string& offset)
        {
            std::size_t start = offset.find_first_not_of(" \t\n");
            start = start == std::string::npos ? offset.size() : start;
            const std::size_t unit_at = offset.find_first_not_of("0123456789.", start);
            const std::string number = offset.substr(start, unit_at == std::string::npos ? unit_at : unit_at - start);
            long factor = 1;
            if (unit_at != std::string::npos) {
                switch (offset[unit_at]) {
                    case 's':
                    case ' ':
                        break;
                    case 'm':
                        factor = 60;
                        break;
                    case 'h':
                        factor = 3600;
                        break;
                    case 'd':
                        factor = 24L * 3600;
                        break;
                    case 'y':
                        factor = 365L * 24 * 3600;
                        break;
                    default:
                        throw Failure{input_arg_not_well_formed_err, "bad units in [" + offset + "]"};
                }
            }
            if (number.empty()) {
                throw Failure{input_arg_not_well_formed_err, "no number in [" + offset + "]"};
            }
            return std::to_string(std::time(nullptr) + std::atol(number.c_str()) * factor);
        }

        // What the client prints: the output of the parameter ruleExecOut.
        std::string rule_output(const MsParamArray& parameters)
        {
            for (int i = 0; i < parameters.len; ++i) {
                const MsParam* parameter = parameters.msParam[i];
                if (parameter == nullptr || parameter->label == nullptr || parameter->type == nullptr ||
                    parameter->inOutStruct == nullptr || std::strcmp(parameter->label, "ruleExecOut") != 0 ||
                    std::strcmp(parameter->type, ExecCmdOut_MS_T) != 0) {
                    continue;
                }
                const auto* out = static_cast<const ExecCmdOut*>(parameter->inOutStruct);
                const auto* bytes = static_cast<const char*>(out->stdoutBuf.buf);
                if (bytes != nullptr && out->stdoutBuf.len > 0) {
                    return std::string(bytes, ::strnlen(bytes, static_cast<std::size_t>(out->stdoutBuf.len)));
                }
            }
            return "";
        }

        // Everything in it comes from malloc, whoever put it there.
        void clear(MsParamArray& parameters)
        {
            for (int i = 0; i < parameters.len; ++i) {
                MsParam* parameter = parameters.msParam[i];
                if (parameter == nullptr) {
                    continue;
                }
                if (parameter->type != nullptr && std::strcmp(parameter->type, ExecCmdOut_MS_T) == 0 && parameter->inOutStruct != nullptr) {
                    auto* out = static_cast<ExecCmdOut*>(parameter->inOutStruct);
                    std::free(out->stdoutBuf.buf);
                    std::free(out->stderrBuf.buf);
                }
                std::free(parameter->inOutStruct);
                std::free(parameter->label);
                std::free(parameter->type);
                std::free(parameter);
            }
            std::free(parameters.msParam);
            parameters.msParam = nullptr;
            parameters.len = 0;
        }
    } // namespace

    namespace
    {
        // The input of a metadata operation, made of words.
        class MetadataInput
        {
          public:
            MetadataInput(const std::vector<std::string>& words, bool admin)
                : texts_{words}
            {
                std::memset(static_cast<void*>(&input_), 0, sizeof input_);
                char** const arguments[] = {&input_.arg0, &input_.arg1, &input_.arg2, &input_.arg3, &input_.arg4,
                                            &input_.arg5, &input_.arg6, &input_.arg7, &input_.arg8, &input_.arg9};
                if (texts_.size() > 10) {
                    throw Failure{CAT_INVALID_ARGUMENT, "too many words"};
                }
                static char nothing[] = "";
                for (std::size_t i = 0; i < 10; ++i) {
                    *arguments[i] = i < texts_.size() ? &texts_[i][0] : nothing;
                }
                if (admin) {
                    addKeyVal(&input_.condInput, ADMIN_KW, "");
                }
            }
            ~MetadataInput() { clearKeyVal(&input_.condInput); }
            MetadataInput(const MetadataInput&) = delete;
            MetadataInput& operator=(const MetadataInput&) = delete;

            ModifyAVUMetadataInput& get() { return input_; }

          private:
            std::vector<std::string> texts_;
            ModifyAVUMetadataInput input_;
        };
    } // namespace

    void modify_metadata_with_static_policy(Session& session, const ModifyAVUMetadataInput& input)
    {
        const char* const all[] = {input.arg0, input.arg1, input.arg2, input.arg3, input.arg4,
                                   input.arg5, input.arg6, input.arg7, input.arg8};
        const std::string operation = input.arg0 != nullptr ? input.arg0 : "";
        const std::size_t count = operation == "mod" ? 9 : operation == "cp" ? 5 : 6;
        std::vector<std::string> words;
        for (std::size_t i = 0; i < count; ++i) {
            words.emplace_back(all[i] != nullptr ? all[i] : "");
        }
        static_policy(session, "acPreProcForModifyAVUMetadata", words);
        modify_metadata(session, input);
        static_policy(session, "acPostProcForModifyAVUMetadata", words);
    }

    int modify_metadata_in_server(Session& session, const std::vector<std::string>& words, bool admin)
    {
        MetadataInput input{words, admin};
        modify_metadata_with_static_policy(session, input.get());
        return 0;
    }

    int modify_metadata_call(Session& session, const std::vector<std::string>& words, bool admin)
    {
        MetadataInput input{words, admin};
        return api(
            session, "mod_avu_metadata",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    std::vector<std::string> forwarded{"meta"};
                    if (admin) {
                        forwarded.emplace_back("-M");
                    }
                    forwarded.insert(forwarded.end(), words.begin(), words.end());
                    return session.remote()->call(forwarded).code;
                }
                modify_metadata_with_static_policy(session, input.get());
                return 0;
            },
            &input.get());
    }

    int apply_metadata_call(Session& session, const std::string& json, std::string& output)
    {
        std::string request = json;
        BytesBuf buffer{static_cast<int>(request.size()), &request[0]};
        BytesBuf* answer = nullptr;
        return api(
            session, "atomic_apply_metadata_operations",
            [&]() -> int {
                if (session.remote() != nullptr) {
                    auto remote_answer = session.remote()->call({"atomic", json});
                    output = remote_answer.output;
                    return remote_answer.code;
                }
                return apply_metadata_operations(session, json, output);
            },
            &buffer, &answer);
    }

    int execute_rule_text(Session& session, const std::string& instance, const std::string& text)
    {
        auto input = std::make_unique<ExecMyRuleInp>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(ExecMyRuleInp));
        if (text.size() >= sizeof input->myRule) {
            throw Failure{USER_PACKSTRUCT_INPUT_ERR, "the rule has more than 20 kB"};
        }
        copy_to(input->myRule, text);
        copy_to(input->outParamDesc, "ruleExecOut");
        if (!instance.empty()) {
            addKeyVal(&input->condInput, INSTANCE_NAME_KW, instance.c_str());
        }
        MsParamArray parameters{0, 0, nullptr};
        input->inpParamArray = &parameters;
        MsParamArray* out = nullptr;
        const int code = api(
            session, "exec_my_rule",
            [&] {
                // The name of the instance is in the conditions only, as on 5.0.2.
                RuleContext context{session.comm(), ""};
                context.info().msParamArray = &parameters;
                context.info().condInputData = &input->condInput;
                const auto result = session.server().plugins.exec_rule_text(instance, text, &parameters, "ruleExecOut", context.callback());
                session.output = rule_output(parameters);
                if (!result.ok()) {
                    session.last_failure = result.result();
                    irods::log(result);
                    return static_cast<int>(result.code());
                }
                return 0;
            },
            input.get(), &out);
        clear(parameters);
        clearKeyVal(&input->condInput);
        return code;
    }

    int execute_delay(Session& session, const std::string& conditions, const std::string& text, std::string& output)
    {
        auto input = std::make_unique<ExecMyRuleInp>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(ExecMyRuleInp));
        copy_to(input->myRule, "@external rule { delay(\"" + conditions + "\") { " + text + " } }");
        copy_to(input->outParamDesc, "ruleExecOut");
        MsParamArray* out = nullptr;
        return api(
            session, "exec_my_rule",
            [&] {
                const userInfo_t client = session.comm()->clientUser;
                output = std::to_string(queue_rule(session, client, text, conditions)) + "\n";
                return 0;
            },
            input.get(), &out);
    }

    int call_rule(Session& session, const std::string& rule, std::vector<std::string>& arguments)
    {
        RuleContext context{session.comm(), ""};
        const auto make_arguments = [&] {
            Arguments list;
            for (auto& argument : arguments) {
                list.emplace_back(&argument);
            }
            return list;
        };
        const auto result = session.server().plugins.exec_rule(rule, make_arguments, context.callback());
        if (!result.ok()) {
            session.last_failure = result.result();
            return static_cast<int>(result.code());
        }
        return 0;
    }

    void delete_rule_without_policy(Session& session, std::int64_t id)
    {
        const std::string text = std::to_string(id);
        const auto rule = session.catalog().rule(id);
        if (!rule) {
            throw Failure{session.privileged() ? cat_success_but_with_no_info : CAT_NO_ROWS_FOUND, "no such delayed rule"};
        }
        // Whose it is says its context, not the column with a name. That it is running does not matter.
        if (!session.privileged() && (rule->user != session.actor().name || rule->user_zone != session.actor().zone)) {
            throw Failure{user_access_denied, "the rule is another user's"};
        }
        const char* id_text = text.c_str();
        database_operation(session, "del_rule_exec", [&] { session.catalog().remove_rule(id); }, id_text);
    }

    int delete_rule(Session& session, std::int64_t id)
    {
        return api(
            session, "rule_exec_del",
            [&] {
                delete_rule_without_policy(session, id);
                return 0;
            },
            &id);
    }

    namespace
    {
        std::int64_t submit_rule(Session& session, const userInfo_t& user, const std::string& instance, ruleExecSubmitInp_t& input)
        {
            if (has_session_variable(input.ruleName)) {
                throw Failure{RE_UNSUPPORTED_SESSION_VAR, "Rules cannot contain session variables. Use dynamic PEPs instead."};
            }
            // The server unpacks the context it was given, and with it makes its client the session's: whoever queues a rule as
            // another user has become that user.
            const userInfo_t client = user;
            session.comm()->clientUser = client;
            DelayedRule rule;
            rule.text = input.ruleName;
            rule.listed_user = input.userName;
            rule.user = client.userName;
            rule.user_zone = client.rodsZone;
            rule.user_type = client.userType;
            rule.auth_flag = client.authInfo.authFlag;
            rule.due = input.exeTime[0] != '\0' ? std::string{input.exeTime} : std::to_string(std::time(nullptr));
            rule.frequency = input.exeFrequency;
            rule.priority = input.priority[0] != '\0' ? input.priority : "5";
            if (rule.priority.size() != 1 || rule.priority[0] < '1' || rule.priority[0] > '9') {
                throw Failure{SYS_INVALID_INPUT_PARAM, "the priority of a delayed rule is 1 to 9"};
            }
            rule.instance = instance;
            database_operation(session, "reg_rule_exec", [&] { rule.id = session.catalog().add_rule(rule); }, &input);
            copy_to(input.ruleExecId, std::to_string(rule.id));
            return rule.id;
        }
    } // namespace

    std::int64_t forward_or_submit_rule(Session& session, const userInfo_t& user, const std::string& instance, ruleExecSubmitInp_t& input)
    {
        if (session.remote() == nullptr) {
            return submit_rule(session, user, instance, input);
        }
        // A call on the connection to the provider. There, and not here, the session becomes the rule's client.
        const Json request = Json::object({{"text", to_json_bytes(input.ruleName)},
                                           {"listed_user", std::string{input.userName}},
                                           {"user", std::string{user.userName}},
                                           {"zone", std::string{user.rodsZone}},
                                           {"type", std::string{user.userType}},
                                           {"auth_flag", user.authInfo.authFlag},
                                           {"instance", instance},
                                           {"due", std::string{input.exeTime}},
                                           {"frequency", std::string{input.exeFrequency}},
                                           {"priority", std::string{input.priority}}});
        const auto answer = session.remote()->call({"submit-rule", request.dump()});
        if (answer.code < 0) {
            throw Failure{answer.code, "the provider refused the delayed rule"};
        }
        copy_to(input.ruleExecId, answer.output);
        return std::stoll(answer.output);
    }

    std::int64_t submit_forwarded_rule(Session& session, const std::string& text)
    {
        const Json request = Json::parse(text);
        const auto word = [&request](const char* name) { return bytes_of(*request.find(name)); };
        auto input = std::make_unique<ruleExecSubmitInp_t>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(ruleExecSubmitInp_t));
        copy_to(input->ruleName, word("text"));
        copy_to(input->userName, word("listed_user"));
        copy_to(input->exeTime, word("due"));
        copy_to(input->exeFrequency, word("frequency"));
        copy_to(input->priority, word("priority"));
        userInfo_t user;
        std::memset(static_cast<void*>(&user), 0, sizeof user);
        fill_user(user, User{0, word("user"), word("zone"), word("type")});
        user.authInfo.authFlag = static_cast<int>(request.find("auth_flag")->as_integer());
        char* id = nullptr;
        std::int64_t number = 0;
        const int code = api(
            session, "rule_exec_submit",
            [&] {
                number = submit_rule(session, user, word("instance"), *input);
                return 0;
            },
            input.get(), &id);
        if (code < 0) {
            throw Failure{code, session.last_failure};
        }
        return number;
    }

    std::int64_t queue_rule(Session& session, const userInfo_t& user, const std::string& text, const std::string& conditions)
    {
        auto input = std::make_unique<ruleExecSubmitInp_t>();
        std::memset(static_cast<void*>(input.get()), 0, sizeof(ruleExecSubmitInp_t));
        copy_to(input->ruleName, text);
        copy_to(input->userName, user.userName);
        bool found = false;
        const std::string instance = element(conditions, "INST_NAME", found);
        if (found) {
            addKeyVal(&input->condInput, INSTANCE_NAME_KW, instance.c_str());
        }
        const std::string frequency = element(conditions, "EF", found);
        copy_to(input->exeFrequency, frequency.substr(0, longest_frequency));
        copy_to(input->priority, element(conditions, "PRIORITY", found));
        const std::string at = element(conditions, "ET", found);
        if (found) {
            if (at.empty() || at.find_first_not_of("0123456789") != std::string::npos) {
                throw Failure{date_format_err, "[" + at + "]: only seconds since the epoch are understood here"};
            }
            copy_to(input->exeTime, at);
        }
        const std::string after = element(conditions, "PLUSET", found);
        try {
            if (found) {
                copy_to(input->exeTime, due_time(after));
            }
            const auto id = forward_or_submit_rule(session, user, instance, *input);
            clearKeyVal(&input->condInput);
            return id;
        }
        catch (const Failure&) {
            clearKeyVal(&input->condInput);
            throw;
        }
    }
} // namespace zone
