<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
{# The form of QGIS 3.22, a long-term release: of the two parts it reads the one that fits a layer. #}
<qgis version="3.22.0" styleCategories="Symbology">
{% if palette %}
  <pipe>
    <rasterrenderer opacity="1" alphaBand="-1" nodataColor="" type="paletted" band="1">
      <colorPalette>
        {% for value, (label, colour) in palette.items() %}
        <paletteEntry value="{{ value }}" label="{{ label }}" color="{{ colour | lower }}" alpha="{{ 255 if value else 0 }}"/>
        {% endfor %}
      </colorPalette>
    </rasterrenderer>
  </pipe>
{% endif %}
  <renderer-v2 type="categorizedSymbol" attr="{{ field }}" symbollevels="0" forceraster="0">
    <categories>
      {% for value, (label, _) in categories.items() %}
      <category symbol="{{ loop.index0 }}" value="{{ value }}" label="{{ label }}" render="true" type="string"/>
      {% endfor %}
    </categories>
    <symbols>
      {% for _, colour in categories.values() %}
      {# A translucent fill with an outline of the same colour; QGIS before 3.18 reads the props. #}
      {% set properties = {
        "color": rgb(colour) ~ "," ~ fill_alpha,
        "joinstyle": "bevel",
        "outline_color": rgb(colour) ~ ",255",
        "outline_style": "solid",
        "outline_width": 0.4,
        "outline_width_unit": "MM",
        "style": "solid",
      } %}
      <symbol type="fill" name="{{ loop.index0 }}" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <Option type="Map">
            {% for name, value in properties.items() %}
            <Option name="{{ name }}" type="QString" value="{{ value }}"/>
            {% endfor %}
          </Option>
          {% for name, value in properties.items() %}
          <prop k="{{ name }}" v="{{ value }}"/>
          {% endfor %}
        </layer>
      </symbol>
      {% endfor %}
    </symbols>
  </renderer-v2>
</qgis>
