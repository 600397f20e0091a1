/** The door in the reader's language; without it, the form works all the same. */

import { preferredLanguage } from "./format.js";
import { LANGUAGES, chooseLanguage, t } from "./words.js";

function chosenLanguage() {
  try {
    const chosen = localStorage.getItem("despensa.language");
    return LANGUAGES.includes(chosen) ? chosen : preferredLanguage();
  } catch {
    return preferredLanguage();
  }
}

const language = chosenLanguage();
chooseLanguage(language);
document.documentElement.lang = language;
document.title = `${t("login.title")} · despensa`;
document.getElementById("label").textContent = t("login.token");
document.getElementById("enter").textContent = t("login.enter");
document.getElementById("hint").textContent = t("login.hint");
if (location.search === "?refused") document.getElementById("refused").textContent = `✖ ${t("login.refused")}`;
