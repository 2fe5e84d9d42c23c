$(".query").textContent = data.query;
fillLegend();
listWords();
listHits();
$(".how").textContent = data.how.join(" \u00b7 ");
$(".words").addEventListener("keydown", moveAmongWords);
root.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  compared = [];
  compare(-1, false);
  choose(null);
});
readOut();
let opened = [];
whilePrinting(() => {
  opened = explained.filter((hit) => hit.fold && !hit.open);
  opened.forEach((hit) => { hit.open = true; fill(hit); });
}, () => opened.forEach((hit) => { hit.open = false; fill(hit); }));
