// Filters for tables made by `reproduce.tables.Filtered`. Without this script a page shows all rows and no boxes.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".filtered")) {
    const selects = [...box.querySelectorAll("select")];
    const rows = [...box.querySelectorAll("tbody tr")];
    const show = () => {
      const shown = rows.filter((row) => {
        const fits = ({ value, dataset }) => !value || row.cells[dataset.column].textContent.trim() === value;
        row.hidden = !selects.every(fits);
        return !row.hidden;
      });
      box.querySelector("output").textContent = `${shown.length} of ${rows.length} rows`;
    };
    selects.forEach((select) => select.addEventListener("change", show));
    box.classList.add("ready");
    show();
  }
});
