# Only what the electronic lab notebook knows goes to OMERO: the collections on which it has set an AVU with the number
# of the experiment. The project in OMERO gets that number, the dataset the name of the collection.
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F import_from_notebook.r
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F import_from_notebook.r '*attribute="labfolder::experiment"'
#
# Nothing else is imported as long as the configuration watches nothing ("watch": []).
importFromNotebook {
    foreach (*row in SELECT COLL_NAME WHERE META_COLL_ATTR_NAME = '*attribute') {
        *collection = *row.COLL_NAME;
        *id = "";
        *code = errormsg(omero_import(*collection, "Project:name:{avu:*attribute}/Dataset:name:{collection[-1]}", *id), *why);
        if (*code < 0) {
            writeLine("stdout", "*collection: *code *why");
        }
        else {
            writeLine("stdout", "*collection (*id): imported once it is quiet");
        }
    }
}
INPUT *attribute="eln::experiment"
OUTPUT ruleExecOut
