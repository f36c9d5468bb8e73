// SPDX-License-Identifier: BSD-3-Clause
// The server's filter before all rule engines: an operation whose PEP names match no registered regex
// is not offered to any of them.
#ifndef IRODS_ABI_IRODS_RE_RULEEXISTSHELPER_HPP
#define IRODS_ABI_IRODS_RE_RULEEXISTSHELPER_HPP

#include "irods/irods_error.hpp"

#include <string>

// The one instance is the server's; a plugin never makes or copies one, so no data member is declared.
class RuleExistsHelper
{
  public:
    static RuleExistsHelper* Instance();
    void registerRuleRegex(const std::string& regex);

    RuleExistsHelper(const RuleExistsHelper&) = delete;
    RuleExistsHelper& operator=(const RuleExistsHelper&) = delete;

  private:
    friend struct irods_abi_rule_exists_helper; // whoever stands in for the server
    RuleExistsHelper() = default;
};

#endif // IRODS_ABI_IRODS_RE_RULEEXISTSHELPER_HPP
