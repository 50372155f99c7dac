// A table that is wider than the screen moves by keyboard too.
"use strict";
addEventListener("load", () => {
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) wrap.tabIndex = 0;
});
