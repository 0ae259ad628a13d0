//! Pages of a portal: what is found on them by CSS selectors, and the forms that are sent back.

use scraper::{ElementRef, Html, Selector};

use crate::secret::Secret;

/// An element of a page, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The CSS selector (Selectors Level 4); the first element that matches counts.
    pub selector: String,
    /// Which attribute of it; `None` for its text.
    pub attribute: Option<String>,
}

/// A form on a page, as a browser would send it back.
pub(super) struct FormOnPage {
    /// Where it goes; `None` where it does not say, which means the page itself.
    pub(super) action: Option<String>,
    /// Its hidden fields, by name, in their order.
    pub(super) hidden: Vec<(String, Secret)>,
    /// The names of all its fields and buttons.
    pub(super) names: Vec<String>,
}

/// Whether a text is a CSS selector.
pub fn is_selector(text: &str) -> bool {
    Selector::parse(text).is_ok()
}

/// Whether any element of a page matches.
pub(super) fn has(page: &str, selector: &str) -> bool {
    Selector::parse(selector)
        .is_ok_and(|selector| Html::parse_document(page).select(&selector).next().is_some())
}

/// What a selection finds on a page; an error says why it finds nothing.
pub(in crate::credential::flow) fn find(page: &str, selection: &Selection) -> Result<Secret, String> {
    let Selection { selector, attribute } = selection;
    let page = Html::parse_document(page);
    let element = first(&page, selector).ok_or_else(|| unmatched(selector))?;
    match attribute {
        None => Ok(Secret::from(element.text().collect::<String>().trim())),
        Some(name) => {
            let value = element.value().attr(name).map(|value| Secret::from(value.trim()));
            value.ok_or_else(|| format!("what `{selector}` matches has no attribute `{name}`"))
        }
    }
}

/// The form that a selector finds on a page; an error says why there is none.
pub(super) fn form(page: &str, selector: &str) -> Result<FormOnPage, String> {
    let page = Html::parse_document(page);
    let form = first(&page, selector).ok_or_else(|| unmatched(selector))?;
    if form.value().name() != "form" {
        return Err(format!("what `{selector}` matches is no form but a `{}`", form.value().name()));
    }
    let inputs = Selector::parse("input").map_err(|_| unmatched("input"))?;
    let hidden = form.select(&inputs).filter_map(|input| {
        let input = input.value();
        let is_hidden = input.attr("type").is_some_and(|of| of.trim().eq_ignore_ascii_case("hidden"));
        let is_sent = is_hidden && input.attr("disabled").is_none();
        let name = input.attr("name").filter(|name| is_sent && !name.is_empty())?;
        Some((name.to_owned(), Secret::from(input.attr("value").unwrap_or_default())))
    });
    let controls = Selector::parse("input, select, textarea, button").map_err(|_| unmatched("input"))?;
    let names = form.select(&controls).filter_map(|control| control.value().attr("name").map(str::to_owned));
    let action = form.value().attr("action").map(str::trim).filter(|action| !action.is_empty());
    Ok(FormOnPage { action: action.map(str::to_owned), hidden: hidden.collect(), names: names.collect() })
}

/// What is told of a selector that finds nothing.
pub(super) fn unmatched(selector: &str) -> String {
    format!("nothing on the page matches `{selector}`: has the page changed?")
}

fn first<'a>(page: &'a Html, selector: &str) -> Option<ElementRef<'a>> {
    page.select(&Selector::parse(selector).ok()?).next()
}

#[cfg(test)]
mod tests {
    use super::{Selection, find, form, has, is_selector};

    const PAGE: &str = r#"<!doctype html><title>Login</title>
        <script>var a = "<form id=fake><input name=csrf value=no>";</script>
        <!-- <form id="old"><input type="hidden" name="csrf" value="old"></form> -->
        <form id=login action="/users/login?x=1&amp;y=2" method=post>
          <input type=hidden name=_csrf value="a&quot;b&#x2F;c"><INPUT TYPE="Hidden" NAME="empty">
          <input type=hidden name=off value=1 disabled><input type=hidden value=nameless>
          <input name=email><input type=password name=password>
        </form>
        <form id=search><p class="note big"> Your <b>token</b> &amp; more </p></form>"#;

    fn found(selector: &str, attribute: Option<&str>) -> Result<String, String> {
        let selection = Selection { selector: selector.to_owned(), attribute: attribute.map(str::to_owned) };
        find(PAGE, &selection).map(|value| value.expose_str().expect("text").to_owned())
    }

    #[test]
    fn a_selection_is_the_attribute_or_the_text_of_the_first_match() {
        assert_eq!(found("input[name=_csrf]", Some("value")).as_deref(), Ok("a\"b/c"));
        assert_eq!(found("form p.note", None).as_deref(), Ok("Your token & more"));
        assert_eq!(found("form:has(input[type=password])", Some("id")).as_deref(), Ok("login"));
        assert_eq!(found("#old, #fake", Some("id")), Err(super::unmatched("#old, #fake")));
        let error = found("#login", Some("target")).expect_err("there is no such attribute");
        assert!(error.contains("`#login`") && error.contains("`target`"), "{error}");
    }

    #[test]
    fn a_form_is_its_action_and_its_hidden_fields() {
        let form_found = form(PAGE, "form:has([type=password])").expect("a form");
        assert_eq!(form_found.action.as_deref(), Some("/users/login?x=1&y=2"));
        let hidden: Vec<_> = form_found
            .hidden
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_str().expect("text")))
            .collect();
        assert_eq!(hidden, [("_csrf", "a\"b/c"), ("empty", "")]);
        assert_eq!(form_found.names, ["_csrf", "empty", "off", "email", "password"]);
        assert_eq!(form(PAGE, "#search").expect("a form").action, None);
        assert!(form(PAGE, "p").is_err_and(|error| error.contains("no form but a `p`")));
    }

    #[test]
    fn what_is_no_selector_matches_nothing() {
        assert!(is_selector("a:not([href])") && !is_selector("a[") && !is_selector(""));
        assert!(has(PAGE, "script") && !has(PAGE, "a["));
    }
}
