-- Imported material whose time is over is looked for every minute.
create index kms_material_by_validity on kms_material (valid_to);
