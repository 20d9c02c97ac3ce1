// Filters for the examples, and the place in the contents. Without it the page only lacks these.
"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const cases = [...document.querySelectorAll(".case")];

  const texts = new Map();
  const textOf = (node) => {
    if (!texts.has(node)) texts.set(node, node.textContent.toLowerCase());
    return texts.get(node);
  };

  function wanted(node, word, tag, disputed, wrong) {
    return (!tag || node.dataset.tags.split(" ").includes(tag))
      && (!disputed || "disputed" in node.dataset)
      && (!wrong || "wrong" in node.dataset)
      && (!word || textOf(node).includes(word));
  }

  // A first screenful; "show all" lifts the limit, and a changed filter brings it back.
  const FEW = 25;
  let limit = FEW;

  function filter() {
    const word = find("#search").value.trim().toLowerCase();
    const tag = find("#tag")?.value ?? "";
    const disputed = find("#disputed").checked;
    const wrong = find("#wrong").checked;
    const fitting = cases.filter((node) => wanted(node, word, tag, disputed, wrong));
    const shown = new Set(fitting.slice(0, limit));
    for (const node of cases) node.hidden = !shown.has(node);
    find("#shown").textContent = `${fitting.length} of ${cases.length} fit`;
    find("#more").hidden = shown.size === fitting.length;
    find("#more").textContent = `Show all ${fitting.length}`;
    find(".nothing").hidden = fitting.length > 0;
  }

  function refilter() {
    limit = FEW;
    filter();
  }

  function showAll() {
    limit = Infinity;
    filter();
  }

  function unfold(event) {
    const open = event.currentTarget.getAttribute("aria-pressed") !== "true";
    for (const node of cases) if (!node.hidden) node.open = open;
    event.currentTarget.setAttribute("aria-pressed", String(open));
    event.currentTarget.textContent = open ? "Close all" : "Open all";
  }

  // A link to an example opens it, and clears filters that hide it.
  function openLinked() {
    const node = location.hash.startsWith("#example-") && find(location.hash);
    if (!node) return;
    if (node.hidden) {
      find("#search").value = "";
      if (find("#tag")) find("#tag").value = "";
      find("#disputed").checked = find("#wrong").checked = false;
      showAll();
    }
    node.open = true;
    node.scrollIntoView();
  }

  function followReading() {
    const links = new Map(
      [...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]),
    );
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        const link = links.get(entry.target.id);
        link.setAttribute("aria-current", "true");
        const row = link.closest("ol");
        row.scrollLeft = link.offsetLeft - row.clientWidth / 2 + link.offsetWidth / 2;
      }
    }, { rootMargin: "-20% 0px -75% 0px" });
    for (const id of links.keys()) seen.observe(document.getElementById(id));
  }

  if (cases.length) {
    find(".filters").hidden = false;
    find(".filters").addEventListener("input", refilter);
    find("#more").addEventListener("click", showAll);
    find("#unfold").addEventListener("click", unfold);
    addEventListener("hashchange", openLinked);
    filter();
    openLinked();
  }
  followReading();
})();
