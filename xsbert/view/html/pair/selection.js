// ---- selection

function selectCell(pair) {
  cell = pair;
  selection = pair && { side: 0, from: pair[0], to: pair[0] };
  update();
}

function select(side, from, to) {
  cell = null;
  selection = { side, from: Math.min(from, to), to: Math.max(from, to) };
  update();
}

function clear() {
  selection = cell = null;
  kept = false;
  update();
}

function update() {
  paintTexts();
  drawLines();
  markMap();
}

function place(target) {
  const unit = target.closest && target.closest(".unit");
  if (!unit) return null;
  const side = lists.indexOf(unit.parentNode);
  return { side, at: [...lists[side].children].indexOf(unit) };
}

function focusUnit(side, at) {
  const units = lists[side].children;
  for (const unit of units) unit.tabIndex = -1;
  units[at].tabIndex = 0;
  units[at].focus();
}

function onKey(event, side) {
  const where = place(event.target);
  if (!where || event.ctrlKey || event.metaKey || event.altKey) return;
  const last = lists[side].children.length - 1;
  const forward = getComputedStyle(lists[side]).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const backward = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
  const goal = { [forward]: Math.min(where.at + 1, last), [backward]: Math.max(where.at - 1, 0), Home: 0, End: last };
  if (event.key in goal) {
    const start = event.shiftKey && anchor && anchor.side === side ? anchor.at : event.shiftKey ? where.at : null;
    kept = false;
    focusUnit(side, goal[event.key]);
    anchor = { side, at: start === null ? goal[event.key] : start };
    select(side, anchor.at, goal[event.key]);
  } else if (event.key === (side === 0 ? "ArrowDown" : "ArrowUp")) {
    focusUnit(1 - side, strongest(partners({ side, from: where.at, to: where.at }))[0]);
  } else if (event.key === "Enter" || event.key === " ") {
    kept = !kept;
    if (!selection) select(side, where.at, where.at);
  } else if (event.key === "Escape") {
    clear();
  } else if (!["ArrowUp", "ArrowDown"].includes(event.key)) {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

function listen(list, side) {
  list.addEventListener("keydown", (event) => onKey(event, side));
  list.addEventListener("focusin", (event) => {
    const where = place(event.target);
    if (dragging || !where) return;
    kept = false;
    anchor = { side, at: where.at };
    select(side, where.at, where.at);
  });
  list.addEventListener("focusout", (event) => {
    if (!kept && !dragging && !list.contains(event.relatedTarget)) clear();
  });
  list.addEventListener("pointerover", (event) => {
    const where = place(event.target);
    if (!where) return;
    if (dragging && anchor.side === side) {
      anchor.moved = anchor.moved || where.at !== anchor.at;
      select(side, anchor.at, where.at);
    } else if (!dragging && !kept) select(side, where.at, where.at);
  });
  list.addEventListener("pointerleave", () => {
    if (kept || dragging) return;
    const focused = root.activeElement && place(root.activeElement);
    if (focused) select(focused.side, focused.at, focused.at);
    else clear();
  });
  list.addEventListener("pointerdown", (event) => {
    const where = place(event.target);
    if (!where || event.button) return;
    const same = kept && selection && selection.side === side && selection.from === where.at && selection.to === where.at;
    const extend = event.shiftKey && anchor && anchor.side === side;
    dragging = true;
    for (const type of ["pointerup", "pointercancel"]) window.addEventListener(type, finishDrag, { once: true });
    anchor = { side, at: extend ? anchor.at : where.at, moved: extend, was: same };
    select(side, anchor.at, where.at);
  });
}

function finishDrag() {
  if (!dragging) return;
  dragging = false;
  kept = true;
  if (anchor.was && !anchor.moved) clear();
}

function listenMap() {
  const scroll = $(".scroll");
  canvas.addEventListener("pointermove", (event) => kept || selectCell(cellAt(event)));
  canvas.addEventListener("pointerleave", () => kept || clear());
  canvas.addEventListener("click", (event) => {
    const pair = cellAt(event);
    const same = kept && pair && cell && pair[0] === cell[0] && pair[1] === cell[1];
    kept = Boolean(pair) && !same;
    selectCell(same ? null : pair);
  });
  scroll.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") clear();
    else if (!step) return;
    else {
      const next = cell ? [cell[0] + step[0], cell[1] + step[1]] : [0, 0];
      selectCell([Math.max(0, Math.min(level.rows - 1, next[0])), Math.max(0, Math.min(level.columns - 1, next[1]))]);
      const right = map.left + (cell[1] + 1) * map.width;
      if (right > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = right - scroll.clientWidth;
      if (right - map.width < scroll.scrollLeft) scroll.scrollLeft = right - map.width - map.left;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  scroll.addEventListener("blur", () => kept || clear());
}
