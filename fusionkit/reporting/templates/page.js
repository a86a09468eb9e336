"use strict";

// The last picture of a pair: a source over the fused image, cut at the slider.
for (const pair of document.querySelectorAll(".pair")) {
  const sources = pair.querySelectorAll(".source img");
  const fused = pair.querySelector(".fused img");
  const compare = pair.querySelector(".compare");
  const stack = compare.querySelector(".stack");
  const slider = compare.querySelector("input");
  const choice = compare.querySelector("select");
  const over = sources[0].cloneNode();
  const cut = () => stack.style.setProperty("--cut", slider.value + "%");
  const choose = () => {
    over.src = sources[choice.selectedIndex].src;
    over.alt = sources[choice.selectedIndex].alt;
  };
  over.className = "over";
  stack.append(fused.cloneNode(), over);
  slider.addEventListener("input", cut);
  choice.addEventListener("change", choose);
  cut();
  choose();
  compare.hidden = false;
}

// Paper can't be clicked: print what is folded away, too.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const details of unfolded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of unfolded) details.open = false;
});
