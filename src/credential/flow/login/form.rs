//! The forms of a page, as a browser sends them back (HTML, section 4.10.21.4).

use scraper::{ElementRef, Html, Selector};

use crate::credential::flow::login::page::unmatched;
use crate::secret::Secret;

/// A form on a page.
pub(super) struct FormOnPage {
    /// Where it goes; `None` where it does not say, which means the page itself.
    pub(super) action: Option<String>,
    /// The fields that go along as they are, by name, in their order: those that are hidden, filled in, chosen or
    /// checked. A name may be there twice.
    pub(super) filled: Vec<(String, Secret)>,
    /// The names of all its fields and buttons.
    pub(super) names: Vec<String>,
}

/// The form that a selector finds on a page; an error says why there is none.
pub(super) fn form(page: &str, selector: &str) -> Result<FormOnPage, String> {
    let page = Html::parse_document(page);
    let wanted = Selector::parse(selector).map_err(|_| unmatched(selector))?;
    let form = page.select(&wanted).next().ok_or_else(|| unmatched(selector))?;
    if form.value().name() != "form" {
        return Err(format!("what `{selector}` matches is no form but a `{}`", form.value().name()));
    }
    let controls = Selector::parse("input, select, textarea, button").map_err(|_| unmatched("input"))?;
    let (mut filled, mut names) = (Vec::new(), Vec::new());
    for control in form.select(&controls) {
        let Some(name) = control.value().attr("name").filter(|name| !name.is_empty()) else { continue };
        names.push(name.to_owned());
        if control.value().attr("disabled").is_none() {
            filled.extend(values(control).into_iter().map(|value| (name.to_owned(), Secret::from(value))));
        }
    }
    let action = form.value().attr("action").map(str::trim).filter(|action| !action.is_empty());
    Ok(FormOnPage { action: action.map(str::to_owned), filled, names })
}

/// What a browser sends of a control that nobody has touched. Of buttons it sends only the one that was pressed: that
/// one the configuration names.
fn values(control: ElementRef<'_>) -> Vec<String> {
    let attribute = |name: &str| control.value().attr(name);
    match control.value().name() {
        "textarea" => vec![control.text().collect()],
        "select" => chosen(control),
        "input" => match attribute("type").map(|of| of.trim().to_ascii_lowercase()).as_deref() {
            Some("submit" | "image" | "reset" | "button" | "file") => Vec::new(),
            Some("checkbox" | "radio") if attribute("checked").is_none() => Vec::new(),
            Some("checkbox" | "radio") => vec![attribute("value").unwrap_or("on").to_owned()],
            _ => vec![attribute("value").unwrap_or_default().to_owned()],
        },
        _ => Vec::new(),
    }
}

/// The options that are marked as chosen; where none is and only one can be, the first.
fn chosen(list: ElementRef<'_>) -> Vec<String> {
    let options: Vec<_> =
        list.descendent_elements().filter(|element| element.value().name() == "option").collect();
    let is = |option: &&ElementRef<'_>, what: &str| option.value().attr(what).is_some();
    let value = |option: &ElementRef<'_>| match option.value().attr("value") {
        Some(value) => value.to_owned(),
        None => option.text().collect::<String>().trim().to_owned(),
    };
    let marked: Vec<_> = options.iter().filter(|it| is(it, "selected")).map(value).collect();
    if list.value().attr("multiple").is_some() {
        return marked;
    }
    let first = || options.iter().find(|it| !is(it, "disabled")).map(value);
    marked.into_iter().next_back().or_else(first).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::form;
    use crate::credential::flow::login::page::tests::PAGE;

    fn filled(page: &str, selector: &str) -> Vec<(String, String)> {
        let form = form(page, selector).expect("a form");
        let text = |(name, value): (String, crate::secret::Secret)| {
            (name, value.expose_str().expect("text").to_owned())
        };
        form.filled.into_iter().map(text).collect()
    }

    #[test]
    fn a_form_is_its_action_and_what_is_in_it() {
        let found = form(PAGE, "form:has([type=password])").expect("a form");
        assert_eq!(found.action.as_deref(), Some("/users/login?x=1&y=2"));
        assert_eq!(found.names, ["_csrf", "empty", "off", "email", "password"]);
        let expected = [("_csrf", "a\"b/c"), ("empty", ""), ("email", ""), ("password", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(filled(PAGE, "form:has([type=password])"), expected);
        assert_eq!(form(PAGE, "#search").expect("a form").action, None);
        assert!(form(PAGE, "p").is_err_and(|error| error.contains("no form but a `p`")));
    }

    #[test]
    fn what_is_filled_in_chosen_and_checked_goes_along_and_no_button() {
        let page = "<form><input name=a value=1><input name=a type=hidden value=2><textarea name=b>x\ny</textarea>\
            <input type=checkbox name=c checked><input type=checkbox name=d value=5><input type=radio name=e value=1>\
            <input type=RADIO name=e value=2 checked><select name=f><option disabled>no<option value=1>one<option>two\
            </select><select name=g><optgroup><option>one<option selected> two </optgroup></select>\
            <select name=h multiple><option>x</select><button name=i value=1>Go</button><input type=submit name=j>\
            <input type=file name=k></form><input name=outside value=1>";
        let expected =
            [("a", "1"), ("a", "2"), ("b", "x\ny"), ("c", "on"), ("e", "2"), ("f", "1"), ("g", "two")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(filled(page, "form"), expected);
    }
}
