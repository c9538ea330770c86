/* The keyboard reaches what scrolls sideways; the theme sees to some of it, as wide as a page was when it came. */
"use strict";

const reach = () =>
  document.querySelectorAll(".cell_output .output, .highlight pre").forEach((output) => {
    if (output.scrollWidth > output.clientWidth) output.tabIndex = 0;
  });
addEventListener("load", reach);
addEventListener("resize", reach);
