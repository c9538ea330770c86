/* Escape closes an open meaning of a word, wherever pointer and focus are; coming to the word anew opens it again. */
"use strict";

const MEANT = "a[aria-describedby^='meaning-']";

document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  document.querySelectorAll(".meaning").forEach((meaning) => (meaning.hidden ||= meaning.checkVisibility()));
});
["mouseover", "focusin"].forEach((arrival) =>
  document.addEventListener(arrival, ({ target }) => {
    if (target.matches(MEANT)) target.nextElementSibling.hidden = false;
  }),
);
