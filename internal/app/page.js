// What a page of an app does by itself: its tables are searched, sorted and turned over, and a button brings the page
// anew without a reload. It keeps nothing and knows no token; without it the page works with forms.
"use strict";

function table(section) {
  const t = section.querySelector("table"), body = t.tBodies[0], size = +t.dataset.size;
  const search = section.querySelector("input[type=search]"), count = section.querySelector(".count");
  const pager = section.querySelector(".pager"), where = pager.querySelector(".where");
  const back = pager.querySelector(".back"), on = pager.querySelector(".on");
  const rows = [...body.rows], total = count.textContent;
  let shown = rows, at = 0;

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / size));
    at = Math.min(at, pages - 1);
    body.replaceChildren(...shown.slice(at * size, (at + 1) * size));
    pager.hidden = pages < 2;
    where.textContent = `${at + 1} of ${pages}`;
    back.disabled = at === 0;
    on.disabled = at === pages - 1;
    count.textContent = shown.length === rows.length ? total : `${shown.length} of ${total}`;
  }
  back.addEventListener("click", () => { at--; draw(); });
  on.addEventListener("click", () => { at++; draw(); });

  search.hidden = rows.length === 0;
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows.filter(r => { const text = r.textContent.toLowerCase(); return words.every(w => text.includes(w)); });
    at = 0;
    draw();
  });
  search.addEventListener("keydown", e => { if (e.key === "Enter") e.preventDefault(); });

  const order = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});
  [...t.tHead.rows[0].cells].forEach((th, i) => {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = th.textContent;
    th.replaceChildren(b);
    b.addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") === "ascending";
      for (const other of t.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const by = (a, b) => order.compare(a.cells[i].textContent, b.cells[i].textContent) * (down ? -1 : 1);
      rows.sort(by);
      shown = shown.slice().sort(by);
      draw();
    });
  });
  draw();
}

function begin() {
  for (const s of document.querySelectorAll(".widget.table")) if (s.querySelector("table")) table(s);
  const form = document.querySelector("#page form");
  if (!form) return;
  form.addEventListener("submit", async e => {
    e.preventDefault();
    const data = new URLSearchParams(new FormData(form, e.submitter));
    for (const b of form.querySelectorAll("button")) b.disabled = true;
    try {
      const answer = await fetch(location.pathname, {method: "POST", body: data, credentials: "same-origin"});
      const page = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#page");
      if (!page) throw new Error(`the server answered ${answer.status}`);
      document.querySelector("#page").replaceWith(page);
      begin();
    } catch (error) {
      const p = document.createElement("p");
      p.className = "fault";
      p.setAttribute("role", "alert");
      p.textContent = `That did not work: ${error.message}. Load the page again.`;
      form.before(p);
      for (const b of form.querySelectorAll("button")) b.disabled = false;
    }
  });
}

begin();
