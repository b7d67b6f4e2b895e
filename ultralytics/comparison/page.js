// A click on a heading sorts its table: numbers from high to low first, text from A to Z; a second click turns it round.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const texts = new Map([...body.rows].map((row) => [row, row.cells[column].textContent]));
    const isNumber = /^[-+]?[\d,]+([.]\d+)?( ± .*)?$/;
    const number = (row) => isNumber.test(texts.get(row)) ? parseFloat(texts.get(row).replaceAll(",", "")) : NaN;
    const numeric = column > 0 &&
      [...body.rows].every((row) => ["", "–"].includes(texts.get(row)) || !isNaN(number(row)));
    const ascending = head.ariaSort ? head.ariaSort !== "ascending" : !numeric;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = [...body.rows].sort((a, b) => {
      const [x, y] = numeric ? [number(a), number(b)] : [a, b].map((row) => texts.get(row));
      if (numeric && (isNaN(x) || isNaN(y))) return isNaN(x) - isNaN(y);
      return (numeric ? x - y : x.localeCompare(y)) * (ascending ? 1 : -1);
    });
    body.append(...order);
  }));
}
