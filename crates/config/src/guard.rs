//! The object `guard`, of the stanza or of a watch: what may be done to imported data, by whom.

use irods_omero_model::form::Form;
use irods_omero_model::guard::{Act, Guard, Stance, Stances};
use irods_omero_model::names::IrodsUser;

/// Reads it; what it does not say is as in `base`.
pub fn read(form: Form<'_>, base: &Guard) -> Guard {
    let mut guard = base.clone();
    for (key, stances) in [("people", &mut guard.people), ("administrators", &mut guard.administrators)] {
        if let Some(form) = form.form(key) {
            *stances = acts(form, *stances).over(stances);
        }
    }
    for (name, pointer, value) in form.map("accounts") {
        let account = IrodsUser::parse(name).map_err(|e| form.problems().add(&pointer, e)).ok();
        let stances = Form::open(pointer, value, form.problems()).map(|form| acts(form, Stances::default()));
        if let Some((account, stances)) = account.zip(stances) {
            let before = guard.accounts.get(&account).copied().unwrap_or_default();
            guard.accounts.insert(account, stances.over(&before));
        }
    }
    form.close();
    guard
}

/// The answers of one object; what a key is without a value is as in `base`.
fn acts(form: Form<'_>, base: Stances) -> Stances {
    let mut stances = Stances::default();
    for act in Act::ALL {
        let key = act.as_str();
        // What is gone for good cannot be followed.
        let words: &[&'static str] =
            if act.can_be_followed() { &Stance::WORDS } else { &["refuse", "allow"] };
        let word = form.choice(key, words, base.get(act).map_or("", Stance::as_str));
        if form.value(key).is_some()
            && let Some(stance) = Stance::parse(word)
        {
            stances.set(act, stance);
        }
    }
    form.close();
    stances
}
