"""The ground floor: errors, clock, ids, money, pages and plugin catalogs."""
